"""Platt scaling by Newton's method."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number
from turnout.features import Floats
from turnout.stats.calibrators.base import Calibrator

__all__ = ["Platt"]


class Platt(Calibrator):
    """A logistic map of the prediction's log-odds: `σ(slope · logit(p) + intercept)`.

    Source: Platt (1999); Newton with backtracking as in Lin, Lin and Weng, Machine Learning 68 (2007). Soft scores are
    allowed. `ridge` is the L2 penalty ½·ridge·(slope − 1)², which keeps separable data finite. A negative slope
    (predictions that rank backwards) is cut to 0, so the map never decreases.

    Limits: two parameters cannot mend a map that bends more than once.

    >>> p = np.linspace(0.05, 0.95, 50)
    >>> Platt().fit(p, p).apply(np.array([0.2, 0.8])).round(3).tolist()
    [0.2, 0.8]
    """

    name: ClassVar[str] = "platt"
    rules: ClassVar = {"ridge": Number(0.0)}

    def __init__(self, ridge: float = 1e-3) -> None:
        self.ridge = ridge

    def _fit(self, predicted_N: Floats, scores_N: Floats, weights_N: Floats) -> None:
        z_N = logit(predicted_N)
        slope, intercept = _newton(z_N, scores_N, weights_N, self.ridge)
        if slope < 0:
            mean = np.average(scores_N, weights=weights_N)
            slope, intercept = 0.0, float(logit(np.array([mean]))[0])
        self.slope_, self.intercept_ = float(slope), float(intercept)

    def _apply(self, predicted: Floats) -> Floats:
        return _sigmoid(self.slope_ * logit(predicted) + self.intercept_)


def logit(p: Floats) -> NDArray[np.float64]:
    """Log-odds, with p held within 1e-4 of 0 and 1 so that one confident miss cannot rule the fit."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)), dtype=np.float64)


def _sigmoid(z: Floats) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)), dtype=np.float64)


def _loss(theta: Floats, z_N: Floats, scores_N: Floats, weights_N: Floats, ridge: float) -> float:
    eta_N = theta[0] * z_N + theta[1]
    return float((weights_N * (np.logaddexp(0.0, eta_N) - scores_N * eta_N)).sum() + 0.5 * ridge * (theta[0] - 1) ** 2)


def _newton(z_N: Floats, scores_N: Floats, weights_N: Floats, ridge: float) -> tuple[float, float]:
    design_N2 = np.stack([z_N, np.ones_like(z_N)], axis=1)
    prior = np.array([1.0, 0.0])
    penalty = np.diag([ridge, 1e-9])  # the second entry only keeps the Hessian invertible
    theta = prior.copy()
    loss = _loss(theta, z_N, scores_N, weights_N, ridge)
    for _ in range(100):
        mean_N = _sigmoid(design_N2 @ theta)
        gradient = design_N2.T @ (weights_N * (mean_N - scores_N)) + penalty @ (theta - prior)
        hessian = (design_N2 * (weights_N * mean_N * (1 - mean_N))[:, None]).T @ design_N2 + penalty
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        scale = 1.0
        while (new := _loss(theta - scale * step, z_N, scores_N, weights_N, ridge)) > loss and scale > 1e-8:
            scale /= 2
        if new > loss:
            break
        theta, done, loss = theta - scale * step, loss - new < 1e-12 * (1 + abs(loss)), new
        if done:
            break
    return float(theta[0]), float(theta[1])
