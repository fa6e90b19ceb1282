"""Logistic regression of each expert's score on several signals at once."""

from __future__ import annotations

import numpy as np

from turnout.estimators._linear import Design, Spectrum, Weights, solve
from turnout.estimators._losses import sigmoid
from turnout.estimators._model import LinearModel
from turnout.features import FeatureMap, Floats

__all__ = ["Logistic"]

STEPS, ENOUGH = 8, 0.02  # Newton steps, and the change of log-odds at which they end
EDGE = 0.01
INNER = 0.01  # of every step's system: the next step mends what is left (inexact Newton)


class Logistic(LinearModel):
    """Per-expert logistic regression; a score in (0, 1) is a soft label (cross-entropy). Newton's method (IRLS).

    `penalty` is on ridge regression's scale and is converted by the noise of the scores. `fewer` names subsets of the
    signals on which models of their own are fitted; the mean of all log-odds counts. The standard error follows by the
    delta method. Limits: those of ridge regression; scores that pile up between 0 and 1 are not a choice between
    two outcomes, and the standard error is then too large.

    >>> x_ND, scores_NE = np.linspace(-1, 1, 40)[:, None], (np.arange(40) > 19)[:, None].astype(float)
    >>> fitted = Logistic(on=("x",)).fit({"x": x_ND}, scores_NE)
    >>> (fitted.predict({"x": np.array([[-1.0], [0.0], [1.0]])})[0].ravel() > 0.5).tolist()[::2]
    [False, True]
    """

    def _learn(
        self, design: Design, spectrum: Spectrum, scores_NE: Floats, weights_NE: Floats, center_E: Floats
    ) -> Weights:
        level_E = self._level(center_E)
        penalty = self.penalty_ * float(np.mean(_curvature(level_E)))
        weights = None
        predictor_NE = np.broadcast_to(level_E, scores_NE.shape)
        for _ in range(STEPS):
            curved_NE = _curvature(predictor_NE)
            working_NE = predictor_NE - level_E + (scores_NE - sigmoid(predictor_NE)) / curved_NE
            weights = solve(
                design, spectrum, working_NE, weights_NE * curved_NE, penalty, start=weights, tolerance=INNER
            )
            before_NE, predictor_NE = predictor_NE, level_E + design.forward(weights)
            if np.abs(predictor_NE - before_NE).max() < ENOUGH:
                break
        assert weights is not None
        return weights

    def _level(self, center_E: Floats) -> Floats:
        clipped_E = np.clip(center_E, EDGE, 1 - EDGE)
        return np.asarray(np.log(clipped_E / (1 - clipped_E)))

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        predictor_NE, se_NE = self._linear(features)
        return sigmoid(predictor_NE), se_NE


def _curvature(x_NE: Floats) -> Floats:
    mean_NE = sigmoid(x_NE)
    return np.maximum(mean_NE * (1.0 - mean_NE), EDGE * (1 - EDGE))
