"""A share of requests for the strong expert, turned into a threshold on its advantage."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Rule
from turnout.features import Floats
from turnout.policies.base import Policy

__all__ = ["Share"]


class Share(Policy):
    """The strong expert where its quality exceeds the best other's by more than `threshold_`, else the best other.

    `strong_share` of the log's requests, to the nearest whole one, go to the strong one; `strong` is its column, None
    takes the dearest on the log. RouteLLM's rule (arXiv:2406.18665) for any number of experts. Limits: equal advantages
    cannot be split, so the share reached may lie below the wanted one; cost enters only through the choice of the
    strong expert.

    >>> quality_NE, cost_NE = np.array([[0.5, 0.9], [0.5, 0.6], [0.5, 0.4]]), np.array([[0.0, 1.0]] * 3)
    >>> Share(1 / 3).fit(quality_NE, cost_NE).choose(quality_NE, cost_NE).tolist()
    [1, 0, 0]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "strong_share": Number(0.0, 1.0),
        "strong": Number(0, integer=True, optional=True),
    }

    def __init__(self, strong_share: float = 0.5, strong: int | None = None) -> None:
        self.strong_share, self.strong = strong_share, strong

    def _fit(self, quality_NE: Floats, cost_NE: Floats, eligible_NE: NDArray[np.bool_]) -> None:
        self.strong_ = int(cost_NE.mean(axis=0).argmax()) if self.strong is None else self.strong
        if self.strong_ >= quality_NE.shape[1]:
            raise ValueError(f"`strong` is column {self.strong_}, but there are {quality_NE.shape[1]} experts")
        if quality_NE.shape[1] == 1:
            self.threshold_ = 0.0
            return
        others_NE = np.delete(np.where(eligible_NE, quality_NE, -np.inf), self.strong_, axis=1)
        # qualities differ by 1 at most, so 2 stands for: no other expert is eligible
        advantage_N = np.minimum(quality_NE[:, self.strong_] - others_NE.max(axis=1), 2.0)
        self.threshold_ = _cut(advantage_N[eligible_NE[:, self.strong_]], self.strong_share)

    def _objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        self.require_fitted()
        objective_NE = np.array(quality_NE, dtype=np.float64)
        objective_NE[:, self.strong_] -= self.threshold_
        return objective_NE


def _cut(advantage_N: Floats, share: float) -> float:
    """A threshold that at most `share` of the advantages exceed, halfway to the next one so that rounding is no tie."""
    down_N = np.sort(advantage_N)[::-1]
    count = round(share * len(down_N))
    if not len(down_N) or count == 0:
        return float(down_N[0]) + 1.0 if len(down_N) else 0.0
    if count == len(down_N):
        return float(down_N[-1]) - 1.0
    while count > 0 and down_N[count - 1] == down_N[count]:
        count -= 1
    return float(down_N[0]) + 1.0 if count == 0 else float(down_N[count - 1] + down_N[count]) / 2
