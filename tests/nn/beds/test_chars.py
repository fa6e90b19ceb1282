from __future__ import annotations

import pytest
import torch

from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
from turnout.nn.beds import chars
from turnout.nn.beds.model import Size

SMALL = Size(width=16, layers=2, heads=2, context=16)


@pytest.fixture(scope="module")
def bed() -> chars.Bed:
    text = torch.tensor(list(b"the cat sat on the mat; " * 400))
    code = torch.tensor(list(b"def f(x): return x\n" * 400))
    return chars.Bed("toy", (text[:8000], code[:6000]), (text[8000:], code[6000:]), SMALL)


def test_texts_exist_without_any_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURNOUT_DATA", raising=False)
    found = chars.two_domains()
    assert "Python's help" in found.name
    assert min(len(text) for text in found.train) > 400_000
    assert int(max(text.max() for text in found.train)) < 128


def test_validation_is_behind_training(bed: chars.Bed) -> None:
    rows_BS, domain_B = bed.validation(8)
    assert rows_BS.shape == (8, 17)
    assert domain_B.tolist() == [0] * 4 + [1] * 4
    cut = chars.one_domain()
    assert len(cut.valid[0]) == pytest.approx(len(cut.train[0]) / 9, rel=0.01)


def test_domains_take_turns_and_draws_replay(bed: chars.Bed) -> None:
    ids_BS, domain_B = bed.batch(torch.Generator().manual_seed(3), rows=4)
    again_BS, _ = bed.batch(torch.Generator().manual_seed(3), rows=4)
    assert domain_B.tolist() == [0, 1, 0, 1]
    assert torch.equal(ids_BS, again_BS)
    assert "(" not in bytes(ids_BS[0].tolist()).decode()
    assert not {*"catsm;"} <= {*bytes(ids_BS[1].tolist()).decode()}


def test_a_run_learns_and_replays(bed: chars.Bed) -> None:
    def factory(size: Size) -> list[torch.nn.Module]:
        return [
            RoutedLayer(LinearGate(size.width, 4), TopK(2), FFN(4, size.width, 8, gated=False))
            for _ in range(size.layers)
        ]

    short = chars.train(bed, factory, 0, steps=1)
    found = chars.train(bed, factory, 0, steps=30, snapshots=(10,))
    again = chars.train(bed, factory, 0, steps=30)
    assert found.loss < short.loss - 0.5
    assert found.loss == again.loss
    assert found.active == 2.0
    assert [int(counts.sum()) for counts in found.counts] == [2 * found.ids_BS.numel()] * 2
    assert list(found.snapshots) == [10]


def test_baselines_have_equal_active_parameters() -> None:
    size = Size()
    (dense, *_), (routed, *_) = chars.BASELINES["dense"](size), chars.BASELINES["top-2 + switch"](size)
    active = chars.CHOSEN * sum(p.numel() for p in routed.experts.parameters()) // chars.EXPERTS  # type: ignore[union-attr]
    assert sum(p.numel() for p in dense.parameters()) == active


def test_a_baseline_is_trained_once(bed: chars.Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chars, "_cached", {})
    monkeypatch.setattr(chars, "STEPS", 2)
    first = chars.baseline(bed, "dense", 0)
    assert chars.baseline(bed, "dense", 0) is first
    assert chars.baseline(bed, "dense", 1) is not first


def test_corruption_changes_the_share_it_says() -> None:
    ids_BS = torch.arange(10_000).view(100, 100)
    changed = (chars.corrupted(ids_BS, 0.05) != ids_BS).float().mean()
    assert float(changed) == pytest.approx(0.05, abs=0.01)
