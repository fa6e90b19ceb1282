"""Quality minus the price of cost."""

from __future__ import annotations

from typing import ClassVar

from turnout.base import Number, Rule
from turnout.features import Floats
from turnout.policies.base import Policy

__all__ = ["Utility"]


class Utility(Policy):
    """`quality - lam * cost`; `lam` is in score per US dollar. At 0 the best expert wins, whatever it costs.

    Limits: the right `lam` depends on the traffic; `budget` and `share` learn it from a log.

    >>> import numpy as np
    >>> Utility(lam=10).choose(np.array([[0.5, 0.6]]), np.array([[0.001, 0.02]])).tolist()
    [0]
    """

    rules: ClassVar[dict[str, Rule]] = {"lam": Number(0.0)}

    def __init__(self, lam: float = 0.0) -> None:
        self.lam = lam

    def _objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        return quality_NE - self.lam * cost_NE
