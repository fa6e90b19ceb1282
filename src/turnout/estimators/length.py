"""Scores as a function of the prompt's length alone: a baseline that learned routers often fail to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Number, Of, Rule
from turnout.estimators._cells import dense
from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats

__all__ = ["Length"]


class Length(Estimator):
    """A linear spline per expert over the first column of the `length` signal, with knots at its quantiles.

    `prior` queries at the expert's mean are spread over the knots. Limits: length stands for task only where tasks
    differ in length; outside the lengths seen in `fit` the curve is flat.

    >>> x_N1, scores_N1 = np.arange(8.0)[:, None], np.array([[0.0], [0], [0], [0], [1], [1], [1], [1]])
    >>> fitted = Length(knots=2, prior=0.01).fit({"length": x_N1}, scores_N1)
    >>> fitted.predict({"length": np.array([[0.0], [7.0]])})[0].round(1).ravel().tolist()
    [0.0, 1.0]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "signal": Of((str,)),
        "knots": Number(2, 64, integer=True),
        "prior": Number(1e-6),
    }

    def __init__(self, signal: str = "length", knots: int = 8, prior: float = 10.0) -> None:
        self.signal, self.knots, self.prior = signal, knots, prior

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        x_N = dense(features[self.signal], self.signal)[:, 0].astype(np.float64)
        self.knot_K_ = np.unique(np.quantile(x_N, np.linspace(0, 1, self.knots)))
        basis_NK = _hats(x_N, self.knot_K_)
        pairs = [self._curve(basis_NK, s_N, w_N) for s_N, w_N in zip(scores_NE.T, weights_NE.T, strict=True)]
        self.value_KE_ = np.stack([value_K for value_K, _ in pairs], axis=1)
        self.root_EKK_ = np.stack([root_KK for _, root_KK in pairs])

    def _curve(self, basis_NK: Floats, scores_N: Floats, weights_N: Floats) -> tuple[Floats, Floats]:
        """The values at the knots, and a root of their covariance."""
        seen_N = weights_N > 0
        basis_NK, scores_N, weights_N = basis_NK[seen_N], scores_N[seen_N], weights_N[seen_N]
        weights_N = weights_N * weights_N.sum() / (weights_N**2).sum()  # their sum is the effective sample size
        mean = float(weighted_mean(scores_N[:, None], weights_N[:, None])[0][0])
        gram_KK = (basis_NK * weights_N[:, None]).T @ basis_NK + np.eye(len(self.knot_K_)) * self.prior / self.knots
        offset_K = np.linalg.solve(gram_KK, basis_NK.T @ (weights_N * (scores_N - mean)))
        left_N = scores_N - mean - basis_NK @ offset_K
        variance = max(float(weights_N @ left_N**2 / weights_N.sum()), 1e-4)
        root_KK = np.linalg.cholesky(np.linalg.inv(gram_KK)) * np.sqrt(variance)
        return mean + offset_K, root_KK

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        basis_NK = _hats(dense(features[self.signal], self.signal)[:, 0].astype(np.float64), self.knot_K_)
        se_NE = np.sqrt(((basis_NK @ self.root_EKK_) ** 2).sum(axis=2)).T
        return np.clip(basis_NK @ self.value_KE_, 0.0, 1.0), se_NE

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        basis_NK = _hats(dense(features[self.signal], self.signal)[:, 0].astype(np.float64), self.knot_K_)
        value_K, root_KK = self._curve(basis_NK, scores_N, np.isfinite(scores_N).astype(float))
        self.value_KE_ = np.column_stack([self.value_KE_, value_K])
        self.root_EKK_ = np.concatenate([self.root_EKK_, root_KK[None]])

    def _remove_expert(self, column: int) -> None:
        self.value_KE_ = np.delete(self.value_KE_, column, 1)
        self.root_EKK_ = np.delete(self.root_EKK_, column, 0)


def _hats(x_N: Floats, knot_K: Floats) -> Floats:
    """Linear interpolation as a matrix, shape (N, K): row n holds the weights of the two knots around x_n."""
    out_NK = np.zeros((len(x_N), len(knot_K)))
    if len(knot_K) == 1:
        return out_NK + 1.0
    left_N = np.clip(np.searchsorted(knot_K, x_N, side="right") - 1, 0, len(knot_K) - 2)
    share_N = np.clip((x_N - knot_K[left_N]) / (knot_K[left_N + 1] - knot_K[left_N]), 0.0, 1.0)
    row_N = np.arange(len(x_N))
    out_NK[row_N, left_N], out_NK[row_N, left_N + 1] = 1.0 - share_N, share_N
    return out_NK
