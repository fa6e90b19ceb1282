"""Checks on a policy, on made-up estimates. Shape letters: N queries, E experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from turnout.features import Floats
from turnout.testing._contract_component import registered
from turnout.testing._contract_estimator import round_trip
from turnout.testing._imports import heavy_imports

__all__ = [
    "better_and_cheaper_wins",
    "choice_is_deterministic",
    "dearer_is_never_better",
    "fit_leaves_its_input_alone",
    "fit_returns_self",
    "one_row_equals_the_batch",
    "only_eligible_experts_are_chosen",
    "prediction_imports_nothing_heavy",
    "quality_is_never_held_against_an_expert",
    "saved_state_chooses_the_same",
    "shapes_and_numbers",
    "ties_go_to_the_cheaper",
]

Make = Callable[..., Any]

ROWS, EXPERTS = 200, 4
MEAN_COST = 0.0004  # US dollars per request: below the default budget of 1 US dollar per 1,000


def fit_returns_self(make: Make) -> None:
    """`fit` gives back the policy."""
    made = make()
    assert made.fit(*_estimates()) is made, "fit must return self"


def fit_leaves_its_input_alone(make: Make) -> None:
    """Parameters and estimates are as before."""
    made, (quality_NE, cost_NE) = make(), _estimates()
    shown, quality, cost = repr(made), quality_NE.copy(), cost_NE.copy()
    made.fit(quality_NE, cost_NE).choose(quality_NE, cost_NE)
    assert np.array_equal(quality, quality_NE), "the qualities are changed"
    assert np.array_equal(cost, cost_NE), "the costs are changed"
    assert repr(made) == shown, f"fit changes the parameters: {made!r}"


def shapes_and_numbers(make: Make) -> None:
    """The objective is finite and of shape (N, E); a choice is a column per query, also for no query and one expert."""
    made, (quality_NE, cost_NE) = _fitted(make), _estimates()
    for rows in (ROWS, 1, 0):
        objective_NE = made.objective(quality_NE[:rows], cost_NE[:rows])
        assert objective_NE.shape == (rows, EXPERTS), f"objective of shape {objective_NE.shape}"
        assert np.isfinite(objective_NE).all(), "the objective is not finite"
        choice_N = made.choose(quality_NE[:rows], cost_NE[:rows])
        assert choice_N.shape == (rows,), f"choice of shape {choice_N.shape}"
        assert np.issubdtype(choice_N.dtype, np.integer), f"choice of dtype {choice_N.dtype}"
    single = make().fit(quality_NE[:, :1], cost_NE[:, :1])
    assert not single.choose(quality_NE[:, :1], cost_NE[:, :1]).any(), "the only expert is not chosen"


def only_eligible_experts_are_chosen(make: Make) -> None:
    """A mask is kept, in `fit` too."""
    quality_NE, cost_NE = _estimates()
    eligible_NE = np.random.default_rng(3).uniform(size=quality_NE.shape) < 0.4
    eligible_NE[np.arange(ROWS), np.arange(ROWS) % EXPERTS] = True
    made = make().fit(quality_NE, cost_NE, eligible_NE)
    choice_N = made.choose(quality_NE, cost_NE, eligible_NE)
    assert eligible_NE[np.arange(ROWS), choice_N].all(), "an expert is chosen that is not eligible"


def choice_is_deterministic(make: Make) -> None:
    """Two policies fitted on the same estimates choose the same."""
    first, second = (_fitted(make).choose(*_estimates()) for _ in range(2))
    assert np.array_equal(first, second), "two fits choose differently"


def one_row_equals_the_batch(make: Make) -> None:
    """A query alone is decided as it is among others."""
    made, (quality_NE, cost_NE) = _fitted(make), _estimates()
    choice_N = made.choose(quality_NE, cost_NE)
    alone_N = [int(made.choose(quality_NE[n : n + 1], cost_NE[n : n + 1])[0]) for n in range(ROWS)]
    assert alone_N == choice_N.tolist(), "a row's choice depends on other rows"


def ties_go_to_the_cheaper(make: Make) -> None:
    """Of experts with equal objective the cheaper is chosen; of equals in everything, the earlier."""
    made = _fitted(make)
    quality_NE, cost_NE = np.full((1, EXPERTS), 0.6), np.array([[3.0, 1.0, 1.0, 2.0]]) * MEAN_COST
    objective_E = made.objective(quality_NE, cost_NE)[0]
    tied_E = np.flatnonzero(objective_E == objective_E.max())
    best = min(tied_E, key=lambda column: (cost_NE[0, column], column))
    chosen = int(made.choose(quality_NE, cost_NE)[0])
    assert chosen == best, f"column {chosen} is chosen, column {best} ties and is cheaper or earlier"


def better_and_cheaper_wins(make: Make) -> None:
    """An expert that is best and cheapest by far is chosen."""
    made, quality_NE, cost_NE = _fitted(make), np.full((1, EXPERTS), 0.2), np.full((1, EXPERTS), MEAN_COST)
    quality_NE[0, 0], cost_NE[0, 0] = 0.95, MEAN_COST / 100
    assert made.choose(quality_NE, cost_NE).tolist() == [0], "the best and cheapest expert is not chosen"


def quality_is_never_held_against_an_expert(make: Make) -> None:
    """A higher quality never lowers the expert's objective against the others'."""
    made, (quality_NE, cost_NE) = _fitted(make), _estimates()
    for column in range(EXPERTS):
        raised_NE = quality_NE.copy()
        raised_NE[:, column] = np.minimum(1.0, raised_NE[:, column] + 0.2)
        gain_N = _lead(made, raised_NE, cost_NE, column) - _lead(made, quality_NE, cost_NE, column)
        assert (gain_N >= -1e-12).all(), f"column {column} loses by a higher quality"


def dearer_is_never_better(make: Make) -> None:
    """A higher cost never raises the expert's objective against the others', and of equal quality the cheaper wins."""
    made, (quality_NE, cost_NE) = _fitted(make), _estimates()
    for column in range(EXPERTS):
        raised_NE = cost_NE.copy()
        raised_NE[:, column] *= 3
        gain_N = _lead(made, quality_NE, raised_NE, column) - _lead(made, quality_NE, cost_NE, column)
        assert (gain_N <= 1e-12).all(), f"column {column} gains by a higher cost"
    level_NE = np.full_like(quality_NE, 0.6)
    chosen_N = made.choose(level_NE, cost_NE)
    assert np.array_equal(chosen_N, cost_NE.argmin(axis=1)), "of equal quality, a dearer expert is chosen"


def saved_state_chooses_the_same(make: Make) -> None:
    """A saved policy has the same objective, bit by bit."""
    made, estimates = _fitted(make), _estimates()
    if registered(made):
        assert np.array_equal(round_trip(made).objective(*estimates), made.objective(*estimates)), "it differs"


def prediction_imports_nothing_heavy(make: Make) -> None:
    """A fresh interpreter that loads and chooses has imported neither scikit-learn, scipy, polars nor torch."""
    made = _fitted(make)
    if registered(made):
        found = heavy_imports(made, "choose", *_estimates())
        assert not found, f"choose imports {found}"


def _fitted(make: Make) -> Any:
    return make().fit(*_estimates())


def _estimates() -> tuple[Floats, Floats]:
    """Qualities around 0.3–0.8, costs that rise with the column and vary by query."""
    random = np.random.default_rng(5)
    quality_NE = np.clip(random.normal(0.55, 0.15, (ROWS, EXPERTS)), 0.0, 1.0)
    cost_NE = MEAN_COST * np.geomspace(0.05, 3.0, EXPERTS) * random.uniform(0.5, 1.5, (ROWS, 1))
    return quality_NE, cost_NE


def _lead(made: Any, quality_NE: Floats, cost_NE: Floats, column: int) -> Floats:
    """The column's objective against the best other's."""
    objective_NE = made.objective(quality_NE, cost_NE)
    return np.asarray(objective_NE[:, column] - np.delete(objective_NE, column, axis=1).max(axis=1))
