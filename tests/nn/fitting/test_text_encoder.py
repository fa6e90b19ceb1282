"""The fine-tuned encoder: what torch learned is what numpy evaluates."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from turnout.estimators.fine_tuned import FineTuned  # noqa: E402
from turnout.features import Sparse  # noqa: E402
from turnout.nn.fitting import text_encoder as fitting  # noqa: E402

TOKENS = 40


def queries(count: int, seed: int = 0) -> tuple[Sparse, np.ndarray]:
    """Token 0 or 1 among noise says which of two experts is right; token 0 is drowned by counts elsewhere."""
    rng = np.random.default_rng(seed)
    kind_N = rng.integers(0, 2, count)
    rows = [
        np.unique(np.concatenate([[kind], rng.integers(2, TOKENS, 8)]), return_counts=True) for kind in kind_N.tolist()
    ]
    indptr = np.array([0, *np.cumsum([len(ids) for ids, _ in rows])], dtype=np.int64)
    ids_Z = np.concatenate([ids for ids, _ in rows]).astype(np.int32)
    counts_Z = np.concatenate([counts for _, counts in rows]).astype(np.float32)
    return Sparse(indptr, ids_Z, counts_Z, TOKENS), np.stack([kind_N == 0, kind_N == 1], axis=1).astype(float)


def trained(rows: int = 300, **options: object) -> dict[str, np.ndarray]:
    counts, scores_NE = queries(rows)
    training = fitting.Training(**{"epochs": 20, "step": 5e-3, "table_step": 1e-2, **options})  # type: ignore[arg-type]
    return dict(fitting.fine_tune(counts, scores_NE, np.ones_like(scores_NE), training))


def test_it_learns_which_tokens_matter() -> None:
    counts, scores_NE = queries(300)
    made = FineTuned(epochs=20, step=5e-3, table_step=1e-2).fit({"tokens": counts}, scores_NE)
    fresh, wanted_NE = queries(200, seed=1)
    mean_NE, se_NE = made.predict({"tokens": fresh})
    assert (mean_NE.argmax(axis=1) == wanted_NE.argmax(axis=1)).mean() > 0.95
    length_V = np.linalg.norm(made.table_VD_.astype(float), axis=1)
    assert length_V[:2].min() > np.median(length_V[2:]), "attention folded into the table weighs the telling tokens"
    assert (se_NE > 0).all()


def test_numpy_says_what_torch_says() -> None:
    """The model is rebuilt with attention of zero over the folded table, which must give the same logits."""
    arrays, (counts, _) = trained(), queries(50, seed=2)
    model = fitting.TextEncoder(
        torch.from_numpy(arrays["table_VD"].astype(np.float32)), torch.zeros(2), fitting.Training()
    )
    with torch.no_grad():
        model.hidden.weight.copy_(torch.from_numpy(arrays["hidden_DH"].T))
        model.hidden.bias.copy_(torch.from_numpy(arrays["hidden_H"]))
        model.head.weight.copy_(torch.from_numpy(arrays["head_HE"].T))
        model.head.bias.copy_(torch.from_numpy(arrays["head_E"]))
    model.eval()
    said = []
    for start, end in pairwise(counts.indptr.tolist()):
        ids = torch.from_numpy(counts.indices[None, start:end].astype(np.int64))
        said.append(torch.sigmoid(model(ids, torch.from_numpy(counts.data[None, start:end]))).detach().numpy()[0])
    made = FineTuned()
    made.table_VD_, made.hidden_DH_, made.hidden_H_ = arrays["table_VD"], arrays["hidden_DH"], arrays["hidden_H"]
    made.head_UE_ = np.vstack([arrays["head_HE"], arrays["head_E"]])
    made.spread_EUU_ = np.zeros((2, 65, 65), np.float32)
    np.testing.assert_allclose(made.predict({"tokens": counts})[0], said, atol=1e-5)


def test_attention_folds_into_the_table() -> None:
    rows_LD, query_D = torch.randn(7, 5), torch.randn(5)
    wanted = rows_LD * torch.exp((rows_LD @ query_D).clamp(-4, 4))[:, None]
    torch.testing.assert_close(fitting.folded(rows_LD, query_D), wanted)


def test_training_is_repeatable_and_leaves_torchs_own_state_alone() -> None:
    before = torch.get_rng_state()
    first, second = trained(), trained()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert torch.equal(before, torch.get_rng_state())
    assert not np.array_equal(first["hidden_DH"], trained(seed=1)["hidden_DH"])


def test_where_nothing_can_be_learned_it_stays_at_the_means() -> None:
    counts, scores_NE = queries(300)
    scores_NE = np.random.default_rng(3).permuted(scores_NE, axis=0)
    mean_NE, _ = FineTuned(epochs=30).fit({"tokens": counts}, scores_NE).predict({"tokens": queries(100, seed=4)[0]})
    assert np.abs(mean_NE - scores_NE.mean(axis=0)).max() < 0.2


def test_tokens_that_the_log_lacks_keep_their_rows() -> None:
    """With the shipped vocabulary, where training starts from the shipped table."""
    from turnout.signals.encoders.static import load

    table = load("minilm")
    counts, scores_NE = queries(120)
    wide = Sparse(counts.indptr, counts.indices, counts.data, len(table.vocabulary))
    arrays = fitting.fine_tune(wide, scores_NE, np.ones_like(scores_NE), fitting.Training(epochs=2))
    shipped_VD = table.table_VD.astype(np.float32) * table.scale_V[:, None]
    cosine_V = np.vecdot(arrays["table_VD"].astype(np.float32), shipped_VD) / (
        np.linalg.norm(arrays["table_VD"].astype(np.float32), axis=1) * np.linalg.norm(shipped_VD, axis=1) + 1e-12
    )
    unseen = np.setdiff1d(np.arange(2000, 2500), counts.indices)
    assert cosine_V[unseen].min() > 0.99


def test_a_step_of_zero_freezes_the_table() -> None:
    first, second = trained(epochs=1, table_step=0.0, step=1e-6), trained(epochs=5, table_step=0.0, step=1e-6)
    np.testing.assert_allclose(first["table_VD"], second["table_VD"], atol=1e-2)
    moved = trained(epochs=5, table_step=0.05, step=1e-6)
    assert np.abs(moved["table_VD"].astype(float) - first["table_VD"]).max() > 0.1


def test_an_empty_log_of_tokens_works() -> None:
    counts = Sparse(np.zeros(11, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), TOKENS)
    scores_NE = np.tile([1.0, 0.0], (10, 1))
    mean_NE, _ = FineTuned(epochs=2).fit({"tokens": counts}, scores_NE).predict({"tokens": counts})
    assert (mean_NE[:, 0] > 0.9).all()
