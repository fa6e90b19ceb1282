"""What estimates of the experts say of each other: a linear map across experts, learned from held-out estimates.

Source: "curds and whey", Breiman and Friedman, J. R. Statist. Soc. B 59 (1997), here with a ridge penalty.
Shape letters: N queries, F experts that estimates are given of, E experts that estimates are wanted of.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from turnout.estimators._linear import even_weights
from turnout.features import Floats

WIDEST = 64  # experts beyond which each keeps its own estimate: a decision would pay for E · E products


class CurdsAndWhey(NamedTuple):
    """Expert e's mean is `mean_NF @ share_FE + shift_E`; errors of the given means count as independent."""

    share_FE: Floats
    shift_E: Floats

    @classmethod
    def learn(cls, held_NE: Floats, scores_NE: Floats, weights_NE: Floats, pull: float) -> Self | None:
        """From held-out means, NaN where there are none, and scores that count where they have weight.

        Each expert's score is regressed on all experts' means. `pull` is the ridge penalty on what differs from the
        expert's own mean, in units of squared means, so that a short log changes little. None for a single expert, for
        more than 64, and where no query has a mean for every expert.
        """
        told_N = np.isfinite(held_NE).all(axis=1)
        if not (told_N.any() and 1 < held_NE.shape[1] <= WIDEST):
            return None
        told_NE, even_NE = held_NE[told_N], even_weights(weights_NE[told_N])
        left_NE = np.where(even_NE > 0, scores_NE[told_N] - told_NE, 0.0)
        mean_F = told_NE.mean(axis=0)
        x_NC = np.hstack([told_NE - mean_F, np.ones((len(told_NE), 1))])
        columns = zip(left_NE.T, even_NE.T, strict=True)
        left_CE = np.stack([_regressed(x_NC, left_N, even_N, pull) for left_N, even_N in columns], axis=1)
        return cls(np.eye(len(mean_F)) + left_CE[:-1], left_CE[-1] - mean_F @ left_CE[:-1])

    def apply(self, mean_NF: Floats, variance_NF: Floats) -> tuple[Floats, Floats]:
        """Means and their variances, each (N, E)."""
        return mean_NF @ self.share_FE + self.shift_E, variance_NF @ (self.share_FE * self.share_FE)

    def with_expert(self) -> Self:
        """One more expert, which says nothing of the others nor they of it."""
        share_FE = np.pad(self.share_FE, (0, 1))
        share_FE[-1, -1] = 1.0
        return type(self)(share_FE, np.append(self.shift_E, 0.0))

    def without(self, column: int) -> Self:
        """One expert wanted less. Its estimates are still to be given: the others' means stay what they were."""
        return type(self)(np.delete(self.share_FE, column, axis=1), np.delete(self.shift_E, column))


def _regressed(x_NC: Floats, left_N: Floats, even_N: Floats, pull: float) -> NDArray[np.float64]:
    """Weighted ridge regression of what an expert's own mean leaves on the columns: shape (C,)."""
    products_CC = (x_NC * even_N[:, None]).T @ x_NC
    found_C = np.linalg.solve(products_CC + pull * np.eye(len(products_CC)), x_NC.T @ (even_N * left_N))
    return np.asarray(found_C, dtype=np.float64)
