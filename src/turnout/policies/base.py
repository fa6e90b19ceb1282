"""What a policy is: from estimates to an objective per expert; the eligible expert with the largest is chosen.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from turnout.base import Component
from turnout.features import Floats


class Policy(Component):
    """Override `_objective`, and `_fit` where a multiplier or threshold is learned from the log.

    Quality is in [0, 1]; cost in US dollars per request.
    """

    kind: ClassVar[str] = "policy"

    def fit(self, quality_NE: Floats, cost_NE: Floats, eligible_NE: NDArray[np.bool_] | None = None) -> Self:
        """Learn the trade-off from cross-fitted estimates on the log, both of shape (N, E)."""
        self.check()
        eligible_NE = np.ones(quality_NE.shape, dtype=bool) if eligible_NE is None else eligible_NE
        self._fit(quality_NE, cost_NE, eligible_NE)
        return self

    def objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        """What is maximised, shape (N, E)."""
        return self._objective(quality_NE, cost_NE)

    def worth(self, lam: float) -> float:
        """What a US dollar saved counts in the objective; `lam` is what it is worth in score."""
        return lam

    def choose(
        self, quality_NE: Floats, cost_NE: Floats, eligible_NE: NDArray[np.bool_] | None = None
    ) -> NDArray[np.intp]:
        """The chosen expert's column per query, shape (N,). Ties go to the cheaper, then to the earlier expert."""
        objective_NE = self.objective(quality_NE, cost_NE)
        if eligible_NE is not None:
            objective_NE = np.where(eligible_NE, objective_NE, -np.inf)
        best_N1 = objective_NE.max(axis=1, keepdims=True)
        tied_NE = np.where(objective_NE >= best_N1, cost_NE, np.inf)
        return np.asarray(tied_NE.argmin(axis=1), dtype=np.intp)

    def _fit(self, quality_NE: Floats, cost_NE: Floats, eligible_NE: NDArray[np.bool_]) -> None: ...

    def _objective(self, quality_NE: Floats, cost_NE: Floats) -> Floats:
        raise NotImplementedError
