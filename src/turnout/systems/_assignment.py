"""Categories to experts under a budget, as an integer programme. Shape letters: K categories, E experts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigError
from turnout.features import Floats


def assign(value_KE: Floats, spend_KE: Floats, weight_K: Floats, budget: float) -> NDArray[np.intp]:
    """One expert per category, (K,): the largest weighted value whose weighted spend is within the budget.

    Weights sum to one, so value and spend are means over requests. Raises ConfigError where the cheapest map is above
    the budget.

    >>> value_KE, spend_KE = np.array([[0.5, 0.9], [0.5, 0.6]]), np.array([[1.0, 3.0], [1.0, 3.0]])
    >>> assign(value_KE, spend_KE, np.array([0.5, 0.5]), 2.0).tolist()
    [1, 0]
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    categories, experts = value_KE.shape
    least = float(weight_K @ spend_KE.min(axis=1))
    if least > budget * (1 + 1e-9):
        raise ConfigError(f"a budget must be at least {least:.6g}, every category at its cheapest, got {budget:.6g}")
    scale = max(budget, 1e-300)
    each = np.kron(np.eye(categories), np.ones(experts))
    found = milp(
        -(weight_K[:, None] * value_KE).ravel(),
        integrality=np.ones(categories * experts),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(each, 1, 1),
            LinearConstraint((weight_K[:, None] * spend_KE).ravel() / scale, -np.inf, 1 + 1e-9),
        ],
    )
    assert found.x is not None  # the least map is within the budget, so there is a solution
    return np.asarray(found.x.reshape(categories, experts).argmax(axis=1), dtype=np.intp)
