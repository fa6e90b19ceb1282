"""Checks on a chooser of modes, on a log where every mode was replayed.

A chooser has `statistics` and `modes` (names), `fit(statistic_NS, score_NM, cost_NM)` and `choose(statistic_NS)`.
Larger statistics are surer, later modes cost more. Shape letters: N queries, S statistics, M modes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from turnout.errors import NotFittedError
from turnout.features import Floats
from turnout.testing._contract_component import refusal, registered
from turnout.testing._contract_estimator import round_trip
from turnout.testing._imports import heavy_imports

__all__ = [
    "a_statistic_that_is_missing_is_doubt",
    "choices_are_modes",
    "choose_before_fit_is_refused",
    "choosing_imports_nothing_heavy",
    "fit_earns_what_the_best_single_mode_does",
    "fit_is_deterministic",
    "fit_leaves_its_input_alone",
    "fit_returns_self",
    "one_query_is_decided_as_among_others",
    "saved_state_chooses_the_same",
    "sure_and_unsure_queries_are_told_apart",
]

Make = Callable[..., Any]

ROWS = 120


def fit_returns_self(make: Make) -> None:
    """`fit` gives back the chooser, fitted."""
    made = make()
    assert made.fit(*_replayed(made)) is made, "fit must return self"
    assert made.learned(), "fit left no attribute that ends in `_`"


def fit_leaves_its_input_alone(make: Make) -> None:
    """Parameters, statistics, scores and costs are as before."""
    made = make()
    shown, given, before = repr(made), _replayed(made), _replayed(made)
    made.fit(*given).choose(given[0])
    for name, now, then in zip(("statistics", "scores", "costs"), given, before, strict=True):
        assert np.array_equal(now, then), f"the {name} are changed"
    assert repr(made) == shown, f"fit changes the parameters: {made!r}"


def fit_is_deterministic(make: Make) -> None:
    """Two fits on the same log choose the same."""
    first, second = (_fitted(make).choose(_replayed(make())[0]) for _ in range(2))
    assert np.array_equal(first, second), "two fits choose differently"


def choose_before_fit_is_refused(make: Make) -> None:
    """`choose` raises NotFittedError before `fit`."""
    made = make()
    assert refusal(NotFittedError, lambda: made.choose(_replayed(made)[0])), "`choose` works before `fit`"


def choices_are_modes(make: Make) -> None:
    """Whole numbers of shape (N,) that name a mode, for no query, extreme and missing statistics too."""
    made = _fitted(make)
    statistic_NS = _replayed(made)[0]
    strange_NS = np.array([[np.nan], [np.inf], [-np.inf], [0.0]]) * np.ones((4, statistic_NS.shape[1]))
    with np.errstate(invalid="ignore"):
        for asked_NS in (statistic_NS, statistic_NS[:1], statistic_NS[:0], strange_NS):
            mode_N = made.choose(asked_NS)
            assert mode_N.shape == (len(asked_NS),), f"shape {mode_N.shape} for {len(asked_NS)} queries"
            assert np.issubdtype(mode_N.dtype, np.integer), f"dtype {mode_N.dtype}"
            assert ((mode_N >= 0) & (mode_N < len(made.modes))).all(), "a choice names no mode"


def one_query_is_decided_as_among_others(make: Make) -> None:
    """A query alone is decided as in a batch."""
    made = _fitted(make)
    statistic_NS = _replayed(made)[0]
    alone_N = [int(made.choose(statistic_NS[n : n + 1])[0]) for n in range(ROWS)]
    assert alone_N == made.choose(statistic_NS).tolist(), "a query's mode depends on other queries"


def a_statistic_that_is_missing_is_doubt(make: Make) -> None:
    """NaN is decided as the least sure value."""
    made = _fitted(make)
    width = len(made.statistics)
    missing, least = (made.choose(np.full((1, width), value)) for value in (np.nan, -np.inf))
    assert missing.tolist() == least.tolist(), f"NaN chooses mode {missing[0]}, −∞ mode {least[0]}"


def sure_and_unsure_queries_are_told_apart(make: Make) -> None:
    """Where only doubtful queries gain by the last mode, they get it and the sure ones the first."""
    made = make()
    statistic_NS, _, cost_NM = _replayed(made)
    unsure_N = statistic_NS[:, 0] < 0.5
    score_NM = np.zeros_like(cost_NM)
    score_NM[~unsure_N, 0] = score_NM[unsure_N, -1] = 1.0
    mode_N = made.fit(statistic_NS, score_NM, cost_NM).choose(statistic_NS)
    right = float(score_NM[np.arange(ROWS), mode_N].mean())
    assert right > 0.9, f"the mode that works is chosen for {right:.0%}"


def fit_earns_what_the_best_single_mode_does(make: Make) -> None:
    """On its own log, with cost of no account, no fixed mode earns more."""
    made = make()
    statistic_NS, score_NM, cost_NM = _replayed(made)
    mode_N = made.fit(statistic_NS, score_NM, cost_NM * 0).choose(statistic_NS)
    earned, best = score_NM[np.arange(ROWS), mode_N].mean(), score_NM.mean(axis=0).max()
    assert earned >= best - 1e-12, f"earns {earned:.3f}, a fixed mode {best:.3f}"


def saved_state_chooses_the_same(make: Make) -> None:
    """A saved chooser chooses the same."""
    made = _fitted(make)
    if registered(made):
        statistic_NS = _replayed(made)[0]
        same = np.array_equal(round_trip(made).choose(statistic_NS), made.choose(statistic_NS))
        assert same, "choices differ after saving and loading"


def choosing_imports_nothing_heavy(make: Make) -> None:
    """A fresh interpreter that loads and chooses has imported neither scikit-learn, scipy, polars nor torch."""
    made = _fitted(make)
    if registered(made):
        found = heavy_imports(made, "choose", _replayed(made)[0])
        assert not found, f"choose imports {found}"


def _fitted(make: Make) -> Any:
    made = make()
    return made.fit(*_replayed(made))


def _replayed(made: Any) -> tuple[Floats, Floats, Floats]:
    """Statistics in [0, 1] that are alike, scores that need a later mode where they are low, and costs that rise."""
    random = np.random.default_rng(7)
    sure_N, modes = random.uniform(size=ROWS), len(made.modes)
    statistic_NS = np.tile(sure_N[:, None], (1, len(made.statistics)))
    needed_N = np.floor((1 - sure_N) * modes)
    score_NM = (np.arange(modes) >= needed_N[:, None]).astype(float)
    score_NM[random.uniform(size=score_NM.shape) < 0.1] = 0.0
    return statistic_NS, score_NM, np.tile(np.geomspace(1.0, 4.0, modes), (ROWS, 1))
