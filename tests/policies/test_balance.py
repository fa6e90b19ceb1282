"""Quality and cost on the pool's own scales."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.policies.balance import Balance


def test_the_ends_are_quality_alone_and_cost_alone() -> None:
    rng = np.random.default_rng(0)
    quality_NE, cost_NE = rng.uniform(size=(50, 4)), rng.uniform(0.1, 1.0, size=(50, 4))
    assert np.array_equal(Balance(1.0).choose(quality_NE, cost_NE), quality_NE.argmax(axis=1))
    assert np.array_equal(Balance(0.0).choose(quality_NE, cost_NE), cost_NE.argmin(axis=1))


@pytest.mark.parametrize("factor", [0.01, 7.0])
def test_the_currency_does_not_matter(factor: float) -> None:
    rng = np.random.default_rng(1)
    quality_NE, cost_NE = rng.uniform(size=(50, 4)), rng.uniform(0.1, 1.0, size=(50, 4))
    made = Balance(0.4)
    assert np.array_equal(made.choose(quality_NE, cost_NE), made.choose(quality_NE, factor * cost_NE))


def test_equal_experts_and_free_ones_are_no_error() -> None:
    objective_NE = Balance(0.5).objective(np.full((2, 3), 0.5), np.zeros((2, 3)))
    assert np.isfinite(objective_NE).all()
