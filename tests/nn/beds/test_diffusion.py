from __future__ import annotations

import pytest
import torch

from turnout.nn import ExpertChoice
from turnout.nn.beds import chars, diffusion
from turnout.nn.beds.model import CharModel, Size

SMALL = Size(width=16, layers=1, heads=2, context=16)


@pytest.fixture(scope="module")
def bed() -> chars.Bed:
    text = torch.tensor(list(b"the cat sat on the mat; " * 200))
    return chars.Bed("toy", (text[:4000],), (text[4000:],), SMALL)


def test_a_model_that_sees_both_sides_learns_to_fill_in(bed: chars.Bed) -> None:
    factory = chars.routed(lambda: ExpertChoice(2))
    short = diffusion.train_masked(bed, factory, 0, steps=1)
    found = diffusion.train_masked(bed, factory, 0, steps=40)
    assert found.loss < short.loss - 0.5
    assert found.loss == pytest.approx(sum(diffusion.by_ratio(bed, found.model).values()) / len(diffusion.BINS))


def test_capacity_follows_the_mask_ratio(bed: chars.Bed) -> None:
    torch.manual_seed(0)
    factory = chars.routed(lambda: ExpertChoice(schedule="linear_reverse", k_min=1, k_max=3))
    model = CharModel(SMALL, factory, causal=False)
    ids_BS = bed.validation(4)[0][:, 1:]
    active = []
    for ratio in (0.25, 0.75):
        context = chars.RoutingContext()
        generator = torch.Generator().manual_seed(0)
        _, passed = diffusion._loss(model, ids_BS, torch.full((4,), ratio), context, generator)
        (plan,) = passed.plans
        assert plan is not None
        active.append(float(plan.counts_E.sum()) / plan.tokens)
    assert active == pytest.approx([2.5, 1.5], abs=0.1)


def test_only_masked_characters_count(bed: chars.Bed) -> None:
    torch.manual_seed(0)
    model = CharModel(SMALL, chars.BASELINES["dense"], causal=False)
    ids_BS = bed.validation(4)[0][:, 1:]
    nothing, _ = diffusion._loss(model, ids_BS, torch.full((4,), 1e-9), chars.RoutingContext(), torch.Generator())
    assert nothing.item() == 0.0
