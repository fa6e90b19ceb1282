"""Quality and cost on scales of their own: each between the query's best and worst expert."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from turnout.base import Number, Rule
from turnout.features import Floats
from turnout.policies.base import Policy

__all__ = ["Balance"]


class Balance(Policy):
    """`weight` · q̂ + (1 − `weight`) · (1 − ĉ): q̂ is quality between the query's worst (0) and best (1) expert, ĉ cost
    over the dearest.

    The performance–efficiency score of Avengers-Pro (arXiv:2508.12631). Needs no price of quality in dollars. Limits:
    the scale is relative to the pool, so a worthless or an exorbitant expert that is never chosen moves every trade;
    equally good experts are told apart by cost alone only where they are exactly equal.

    >>> Balance(weight=0.5).choose(np.array([[0.5, 0.6, 0.1]]), np.array([[0.001, 0.02, 0.02]])).tolist()
    [0]
    """

    rules: ClassVar[dict[str, Rule]] = {"weight": Number(0.0, 1.0)}

    def __init__(self, weight: float = 0.5) -> None:
        self.weight = weight

    def _objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        low_N1, high_N1 = quality_NE.min(axis=1, keepdims=True), quality_NE.max(axis=1, keepdims=True)
        good_NE = (quality_NE - low_N1) / np.maximum(high_N1 - low_N1, 1e-12)
        spent_NE = cost_NE / np.maximum(cost_NE.max(axis=1, keepdims=True), 1e-300)
        return np.asarray(self.weight * good_NE + (1.0 - self.weight) * (1.0 - spent_NE))
