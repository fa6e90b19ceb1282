"""Checks on an estimator, on made-up queries. Shape letters: N queries, E experts, D columns."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from turnout import state
from turnout.errors import NotFittedError
from turnout.features import FeatureMap, Floats, Sparse, take
from turnout.testing._contract_component import refusal, registered
from turnout.testing._imports import heavy_imports

__all__ = [
    "added_expert_leaves_the_others_alone",
    "columns_may_differ_in_what_was_observed",
    "empty_columns_are_refused",
    "fit_is_deterministic",
    "fit_leaves_its_input_alone",
    "fit_returns_self",
    "importance_weights_are_honoured",
    "means_follow_the_scores",
    "missing_signals_are_named",
    "one_row_equals_the_batch",
    "predict_before_fit_is_refused",
    "prediction_imports_nothing_heavy",
    "predictions_are_means_in_range_with_errors",
    "removed_expert_leaves_the_others_alone",
    "saved_state_predicts_the_same_bits",
    "tasks_are_optional",
]

Make = Callable[..., Any]

ROWS, EXPERTS, WIDTH = 120, 3, 6
CLOSE = 2e-5  # float32 sums in another order


def fit_returns_self(make: Make) -> None:
    """`fit` gives back the estimator, fitted."""
    made = make()
    features, scores_NE = _problem(made)
    assert made.fit(features, scores_NE, tasks=_tasks(features)) is made, "fit must return self"
    assert made.learned(), "fit left no attribute that ends in `_`"


def predict_before_fit_is_refused(make: Make) -> None:
    """`predict`, `add_expert` and `remove_expert` raise NotFittedError before `fit`."""
    made = make()
    features, scores_NE = _problem(made)
    for name, arguments in {
        "predict": (features,),
        "add_expert": (features, scores_NE[:, 0]),
        "remove_expert": (0,),
    }.items():
        message = refusal(NotFittedError, partial(getattr(made, name), *arguments))
        assert message is not None, f"`{name}` works before `fit`"


def predictions_are_means_in_range_with_errors(make: Make) -> None:
    """Means in [0, 1] and errors >= 0, both finite and of shape (N, E), on far-away queries and one row too."""
    made = make()
    features, scores_NE = _problem(made)
    made.fit(features, scores_NE, tasks=_tasks(features))
    for wanted in (features, _far(features), take(features, np.arange(1)), take(features, np.arange(0))):
        rows = len(next(iter(wanted.values())))
        for part, values_NE in zip(("mean", "standard error"), made.predict(wanted), strict=True):
            assert values_NE.shape == (rows, EXPERTS), f"{part}: shape {values_NE.shape}, not {(rows, EXPERTS)}"
            assert np.issubdtype(values_NE.dtype, np.floating), f"{part}: dtype {values_NE.dtype}"
            assert np.isfinite(values_NE).all(), f"{part} is not finite"
            assert (values_NE >= 0).all(), f"{part} below 0"
        mean_NE = made.predict(wanted)[0]
        assert (mean_NE <= 1).all(), f"a mean of {mean_NE.max()}"


def means_follow_the_scores(make: Make) -> None:
    """An expert that is always right is predicted above one that is always wrong."""
    made = make()
    features, scores_NE = _problem(made)
    scores_NE[:, 0], scores_NE[:, 1] = 1.0, 0.0
    mean_NE, _ = made.fit(features, scores_NE, tasks=_tasks(features)).predict(features)
    assert (mean_NE[:, 0] > mean_NE[:, 1] + 0.5).all(), "an expert at 1 is not told from one at 0"


def fit_is_deterministic(make: Make) -> None:
    """Two fits on the same log predict the same bits."""
    features, scores_NE = _problem(make())
    first, second = (make().fit(features, scores_NE, tasks=_tasks(features)).predict(features) for _ in range(2))
    assert np.array_equal(first[0], second[0]), "means differ between two fits"
    assert np.array_equal(first[1], second[1]), "errors differ between two fits"


def fit_leaves_its_input_alone(make: Make) -> None:
    """Parameters, features and scores are as before."""
    made = make()
    features, scores_NE = _problem(made)
    before, copied_NE, shown = take(features, np.arange(ROWS)), scores_NE.copy(), repr(made)
    made.fit(features, scores_NE, tasks=_tasks(features))
    made.predict(features)
    assert np.array_equal(copied_NE, scores_NE, equal_nan=True), "fit changes the scores"
    same = all(np.array_equal(_array(before[name]), _array(features[name])) for name in features)
    assert same, "fit or predict changes the features"
    assert repr(made) == shown, f"fit changes the parameters: {made!r}"


def one_row_equals_the_batch(make: Make) -> None:
    """A query alone gets what it gets among others, but for rounding."""
    made = make()
    features, scores_NE = _problem(made)
    batch = made.fit(features, scores_NE, tasks=_tasks(features)).predict(features)
    for row in range(0, ROWS, 7):
        alone = made.predict(take(features, np.array([row])))
        for part, one, many in zip(("mean", "standard error"), alone, batch, strict=True):
            assert np.allclose(one[0], many[row], atol=CLOSE), f"{part} of row {row}: {one[0]} alone, {many[row]}"


def columns_may_differ_in_what_was_observed(make: Make) -> None:
    """Missing scores are no scores: a log with one outcome per query fits, and an expert's bad queries stay its own."""
    made = make()
    features, scores_NE = _problem(made)
    partial_NE = np.where(np.arange(ROWS)[:, None] % EXPERTS == np.arange(EXPERTS), scores_NE, np.nan)
    mean_NE, se_NE = made.fit(features, partial_NE, tasks=_tasks(features)).predict(features)
    assert np.isfinite(mean_NE).all(), "a mean is not finite"
    assert np.isfinite(se_NE).all(), "a standard error is not finite"
    holes_NE = scores_NE.copy()
    holes_NE[:, 0] = np.where(np.arange(ROWS) % 2, 0.9, np.nan)
    mean_NE, _ = make().fit(features, holes_NE, tasks=_tasks(features)).predict(features)
    assert np.allclose(mean_NE[:, 0], 0.9, atol=0.02), "scores that were not observed pull the mean"


def empty_columns_are_refused(make: Make) -> None:
    """An expert without any score is a ValueError, not a prediction."""
    made = make()
    features, scores_NE = _problem(made)
    scores_NE[:, 1] = np.nan
    message = refusal(ValueError, partial(made.fit, features, scores_NE))
    assert message is not None, "fit accepts an expert without scores"


def missing_signals_are_named(make: Make) -> None:
    """A signal that is not there is a ValueError with its name."""
    made = make()
    features, scores_NE = _problem(made)
    for name in made.signals:
        fewer = {key: value for key, value in features.items() if key != name}
        message = refusal(ValueError, partial(make().fit, fewer, scores_NE))
        assert message is not None, f"fit works without {name!r}, which `signals` lists"
        assert repr(name) in message, f"the message {message!r} does not name {name!r}"


def importance_weights_are_honoured(make: Make) -> None:
    """Queries of much greater weight decide the mean; a common factor changes nothing."""
    features, scores_NE = _problem(make())
    scores_NE[:, 0] = np.arange(ROWS) % 2
    plain, scaled, tilted = (np.full(scores_NE.shape, weight) for weight in (1.0, 5.0, 1.0))
    tilted[:, 0] = np.where(scores_NE[:, 0] > 0, 9.0, 1.0)
    mean_NE, same_NE, high_NE = (
        make().fit(features, scores_NE, weights_NE=w_NE, tasks=_tasks(features)).predict(features)[0]
        for w_NE in (plain, scaled, tilted)
    )
    assert np.allclose(mean_NE, same_NE, atol=1e-3), "a factor common to all weights changes the means"
    gain = float(high_NE[:, 0].mean() - mean_NE[:, 0].mean())
    assert gain > 0.2, f"nine-fold weights on the queries at 1 raise the mean by {gain:.3f} only"


def tasks_are_optional(make: Make) -> None:
    """`fit` works without task names."""
    made = make()
    features, scores_NE = _problem(made)
    assert np.isfinite(made.fit(features, scores_NE).predict(features)[0]).all()


def added_expert_leaves_the_others_alone(make: Make) -> None:
    """The newcomer is the last column, near its scores; the others' predictions stay; unseen queries may be used."""
    made = make()
    features, scores_NE = _problem(made)
    before = made.fit(features, scores_NE, tasks=_tasks(features)).predict(features)
    for wanted in (features, take(_far(features, 0.5), np.arange(40))):
        scores_N = np.full(len(next(iter(wanted.values()))), 0.8)
        scores_N[::3] = np.nan
        assert made.add_expert(wanted, scores_N) is made, "add_expert must return self"
    mean_NE, se_NE = made.predict(features)
    assert mean_NE.shape == se_NE.shape == (ROWS, EXPERTS + 2), f"shape {mean_NE.shape} after two more experts"
    assert np.allclose(mean_NE[:, :EXPERTS], before[0], atol=CLOSE), "the others' means change"
    assert np.allclose(se_NE[:, :EXPERTS], before[1], atol=CLOSE), "the others' errors change"
    assert np.allclose(mean_NE[:, EXPERTS:], 0.8, atol=0.05), "the newcomer is not at its scores"


def removed_expert_leaves_the_others_alone(make: Make) -> None:
    """The column goes; the others' predictions stay; adding after removing works."""
    made = make()
    features, scores_NE = _problem(made)
    before = made.fit(features, scores_NE, tasks=_tasks(features)).predict(features)
    assert made.remove_expert(1) is made, "remove_expert must return self"
    after = made.predict(features)
    for part, was, now in zip(("mean", "standard error"), before, after, strict=True):
        assert np.allclose(np.delete(was, 1, axis=1), now, atol=CLOSE), f"the others' {part} changes"
    made.add_expert(features, scores_NE[:, 1])
    assert made.predict(features)[0].shape == (ROWS, EXPERTS), "an expert cannot come back"


def saved_state_predicts_the_same_bits(make: Make) -> None:
    """Learned state goes through JSON values and an npz archive, and predicts the same bits; it can still grow."""
    made = make()
    features, scores_NE = _problem(made)
    made.fit(features, scores_NE, tasks=_tasks(features))
    if not registered(made):
        return
    loaded = round_trip(made)
    for part, was, now in zip(
        ("mean", "standard error"), made.predict(features), loaded.predict(features), strict=True
    ):
        assert np.array_equal(was, now), f"the {part} differs after saving and loading"
    loaded.add_expert(features, scores_NE[:, 0]).remove_expert(0)
    assert loaded.predict(features)[0].shape == (ROWS, EXPERTS), "a loaded estimator cannot change its experts"


def prediction_imports_nothing_heavy(make: Make) -> None:
    """A fresh interpreter that loads and predicts has imported neither scikit-learn, scipy, polars nor torch."""
    made = make()
    features, scores_NE = _problem(made)
    made.fit(features, scores_NE, tasks=_tasks(features))
    if registered(made):
        found = heavy_imports(made, "predict", take(features, np.arange(2)))
        assert not found, f"predict imports {found}"


def round_trip(made: Any) -> Any:
    """Through the saved form: a JSON document, and arrays in the bytes of an npz archive."""
    import json

    arrays: dict[str, Any] = {}
    document = json.dumps(state.pack(made, arrays))
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as archive:
        return state.unpack(json.loads(document), {name: archive[name] for name in archive.files})


def _problem(made: Any) -> tuple[dict[str, Any], Floats]:
    """Features for the estimator's signals, and scores that depend on the first column."""
    random = np.random.default_rng(7)
    x_N = random.uniform(-1, 1, ROWS)
    names = (*made.signals, "spare")
    features: dict[str, Any] = {name: _block(name, x_N, random) for name in names}
    chance_NE = np.stack([0.5 + 0.4 * x_N, 0.5 - 0.4 * x_N, np.full(ROWS, 0.5)], axis=1)
    return features, (random.uniform(size=(ROWS, EXPERTS)) < chance_NE).astype(np.float64)


def _block(name: str, x_N: Floats, random: np.random.Generator) -> Any:
    dense_ND = random.normal(size=(len(x_N), WIDTH)) * 0.3
    dense_ND[:, 0] = x_N
    if name == "tokens":
        return _counted(x_N, random)
    if name != "tfidf":
        return dense_ND.astype(np.float32)
    kept_ND = random.uniform(size=dense_ND.shape) < 0.5
    kept_ND[3] = False  # an empty row
    indptr = np.concatenate([[0], np.cumsum(kept_ND.sum(axis=1))]).astype(np.int64)
    return Sparse(indptr, np.nonzero(kept_ND)[1].astype(np.int32), dense_ND[kept_ND].astype(np.float32), WIDTH)


def _counted(x_N: Floats, random: np.random.Generator) -> Sparse:
    """Counts of tokens: the first stands in queries where x is high, the second elsewhere, the others anywhere."""
    count_ND = random.integers(0, 3, size=(len(x_N), WIDTH))
    count_ND[:, 0], count_ND[:, 1] = x_N > 0, x_N <= 0
    at_N, token_Z = np.nonzero(count_ND)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(at_N, minlength=len(x_N)))]).astype(np.int64)
    return Sparse(indptr, token_Z.astype(np.int32), count_ND[at_N, token_Z].astype(np.float32), WIDTH)


def _far(features: FeatureMap, factor: float = 30.0) -> dict[str, Any]:
    """Other queries than those of the log."""
    return {
        name: Sparse(f.indptr, f.indices, f.data * np.float32(factor), f.columns)
        if isinstance(f, Sparse)
        else f * np.float32(factor)
        for name, f in features.items()
    }


def _tasks(features: FeatureMap) -> list[str]:
    first = next(iter(features.values()))
    return ["high" if value > 0 else "low" for value in _array(first)[:, 0]]


def _array(block: Any) -> Floats:
    return np.asarray(block.toarray() if isinstance(block, Sparse) else block)
