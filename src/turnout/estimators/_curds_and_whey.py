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
        columns = zip(left_NE.T, even_NE.T, strict=True)
        share_CE = np.stack([_regressed(told_NE, left_N, even_N, pull) for left_N, even_N in columns], axis=1)
        return cls(np.eye(held_NE.shape[1]) + share_CE[:-1], share_CE[-1])

    def apply(self, mean_NF: Floats, variance_NF: Floats) -> tuple[Floats, Floats]:
        """Means and their variances, each (N, E)."""
        return mean_NF @ self.share_FE + self.shift_E, variance_NF @ (self.share_FE * self.share_FE)

    def with_expert(self) -> Self:
        """One more expert, which says nothing of the others nor they of it."""
        given, wanted = self.share_FE.shape
        share_FE = np.zeros((given + 1, wanted + 1))
        share_FE[:given, :wanted], share_FE[given, wanted] = self.share_FE, 1.0
        return type(self)(share_FE, np.append(self.shift_E, 0.0))

    def without(self, column: int) -> Self:
        """One expert wanted less. Its estimates are still to be given: the others' means stay what they were."""
        return type(self)(np.delete(self.share_FE, column, axis=1), np.delete(self.shift_E, column))


def _regressed(told_NF: Floats, left_N: Floats, even_N: Floats, pull: float) -> NDArray[np.float64]:
    """What every expert's mean, and one, is multiplied by to make up what an expert's own leaves: shape (F + 1,)."""
    mean_F = told_NF.mean(axis=0)
    x_NC = np.hstack([told_NF - mean_F, np.ones((len(told_NF), 1))])
    products_CC = (x_NC * even_N[:, None]).T @ x_NC
    share_C = np.linalg.solve(products_CC + pull * np.eye(len(products_CC)), x_NC.T @ (even_N * left_N))
    return np.append(share_C[:-1], share_C[-1] - mean_F @ share_C[:-1])
