"""A target spend, turned into a price of cost on the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Rule
from turnout.errors import ParameterError
from turnout.features import Floats
from turnout.policies.base import Policy

__all__ = ["Budget"]

HALVINGS = 60


class Budget(Policy):
    """`quality - lam_ * cost` with the least `lam_` whose mean cost on the log is within `dollars_per_1k` requests.

    The multiplier of the constrained problem, found by bisection (spend never rises with it). Limits: the target holds
    on traffic like the log's, and for the predicted costs; spend moves in steps, so some of it may stay unspent.
    Raises ParameterError where even the cheapest choice for every request is above the target.

    >>> quality_NE, cost_NE = np.array([[0.5, 0.9], [0.5, 0.6]]), np.array([[0.0, 0.01], [0.0, 0.01]])
    >>> Budget(dollars_per_1k=5).fit(quality_NE, cost_NE).choose(quality_NE, cost_NE).tolist()
    [1, 0]
    """

    rules: ClassVar[dict[str, Rule]] = {"dollars_per_1k": Number(0.0)}

    def __init__(self, dollars_per_1k: float = 1.0) -> None:
        self.dollars_per_1k = dollars_per_1k

    def _fit(self, quality_NE: Floats, cost_NE: Floats, eligible_NE: NDArray[np.bool_]) -> None:
        target = self.dollars_per_1k / 1000
        least = float(np.where(eligible_NE, cost_NE, np.inf).min(axis=1).mean())
        if least > target * (1 + 1e-9):
            raise ParameterError(
                f"Budget: `dollars_per_1k` must be at least {least * 1000:.6g}, the spend with every request at its "
                f"cheapest expert, got {self.dollars_per_1k!r}"
            )
        rows_N = np.arange(len(quality_NE))

        def spend(lam: float) -> float:
            self.lam_ = lam
            return float(cost_NE[rows_N, self.choose(quality_NE, cost_NE, eligible_NE)].mean())

        self.lam_ = _least(spend, target * (1 + 1e-9), *_bracket(cost_NE))

    def _objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        self.require_fitted()
        return quality_NE - self.lam_ * cost_NE


def _bracket(cost_NE: Floats) -> tuple[float, float]:
    """Prices of cost at which the largest, and the smallest, difference outweighs the whole range of quality."""
    gap_NE = np.diff(np.sort(cost_NE, axis=1), axis=1)
    gaps = gap_NE[gap_NE > 0]
    return (2.0 / float(gaps.max()), 2.0 / float(gaps.min())) if gaps.size else (1.0, 1.0)


def _least(spend: Callable[[float], float], target: float, start: float, high: float) -> float:
    """The least price in [0, high] with spend within the target, to one part in 2**60 of its own size.

    The bracket is doubled from `start`: two equal prices, apart by rounding alone, put `high` out of all proportion.
    """
    if spend(0.0) <= target:
        return 0.0
    low = 0.0
    while start < high and spend(start) > target:
        low, start = start, 2.0 * start
    high = min(start, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if spend(middle) <= target else (middle, high)
    return high
