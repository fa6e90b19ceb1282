"""The cheapest expert that is good enough."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from turnout.base import Number, Rule
from turnout.features import Floats
from turnout.policies.base import Policy

__all__ = ["Floor"]


class Floor(Policy):
    """The cheapest expert whose quality is at least `quality`; where none is, the one with the best quality.

    The objective is minus the cost (US dollars) for an expert at the floor or above it, and its quality, moved below
    all of those, for the others. Limits: estimates near the floor are noisy, so calibrated ones are needed for the
    floor to hold on average; a single request may still fall below it.

    >>> Floor(0.7).choose(np.array([[0.8, 0.9], [0.5, 0.6]]), np.array([[0.01, 0.02]] * 2)).tolist()
    [0, 1]
    """

    rules: ClassVar[dict[str, Rule]] = {"quality": Number(0.0, 1.0)}

    def __init__(self, quality: float = 0.5) -> None:
        self.quality = quality

    def worth(self, lam: float) -> float:
        """Among experts that are good enough the objective is in US dollars."""
        return 1.0

    def _objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        dearest_N1 = cost_NE.max(axis=1, keepdims=True)
        return np.where(quality_NE >= self.quality, -cost_NE, quality_NE - 1.0 - dearest_N1)
