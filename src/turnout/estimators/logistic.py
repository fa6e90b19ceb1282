"""Logistic regression of each expert's score on several signals at once."""

from __future__ import annotations

import numpy as np

from turnout.estimators._linear import Design, Spectrum, Weights, solve
from turnout.estimators._losses import sigmoid
from turnout.estimators._model import LinearModel
from turnout.features import Floats

__all__ = ["Logistic"]

STEPS, ENOUGH = 12, 0.02  # Newton steps, and the change of log-odds at which they end
HALVINGS = 8  # of a step that leads uphill, as the first one does for rare outcomes that are easily told
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
        weights = Weights(
            np.zeros((design.x_ND.shape[1], len(level_E))), np.zeros((design.s_NS.shape[1], len(level_E)))
        )
        predictor_NE = np.broadcast_to(level_E, scores_NE.shape)
        loss_E = _loss(predictor_NE, weights, scores_NE, weights_NE, penalty)
        for step in range(STEPS):
            curved_NE = _curvature(predictor_NE)
            working_NE = predictor_NE - level_E + (scores_NE - sigmoid(predictor_NE)) / curved_NE
            aim = solve(
                design, spectrum, working_NE, weights_NE * curved_NE, penalty,
                start=weights if step else None, tolerance=INNER,
            )  # fmt: skip
            before, before_NE, before_E = weights, predictor_NE, loss_E
            away_NE = level_E + design.forward(aim) - before_NE
            rate_E = np.ones(len(level_E))
            for _ in range(HALVINGS):
                weights, predictor_NE = _between(before, aim, rate_E), before_NE + rate_E * away_NE
                loss_E = _loss(predictor_NE, weights, scores_NE, weights_NE, penalty)
                uphill_E = loss_E > before_E * (1.0 + 1e-9)
                if not uphill_E.any():
                    break
                rate_E = np.where(uphill_E, 0.5 * rate_E, rate_E)
            if np.abs(predictor_NE - before_NE).max() < ENOUGH:
                break
        return weights

    def _level(self, center_E: Floats) -> Floats:
        clipped_E = np.clip(center_E, EDGE, 1 - EDGE)
        return np.asarray(np.log(clipped_E / (1 - clipped_E)))

    def link(self, predictor: Floats) -> Floats:
        """The logistic function."""
        return sigmoid(predictor)


def _curvature(x_NE: Floats) -> Floats:
    mean_NE = sigmoid(x_NE)
    return np.maximum(mean_NE * (1.0 - mean_NE), EDGE * (1 - EDGE))


def _loss(predictor_NE: Floats, weights: Weights, scores_NE: Floats, weights_NE: Floats, penalty: float) -> Floats:
    """Penalised cross-entropy of each expert, shape (E,)."""
    entropy_E = (weights_NE * (np.logaddexp(0.0, predictor_NE) - scores_NE * predictor_NE)).sum(axis=0)
    size_E = (weights.dense_DE**2).sum(axis=0) + (weights.sparse_SE**2).sum(axis=0)
    return np.asarray(entropy_E + 0.5 * penalty * size_E)


def _between(one: Weights, other: Weights, rate_E: Floats) -> Weights:
    """The part `rate_E` of the way from one to the other."""
    dense_DE = one.dense_DE + rate_E * (other.dense_DE - one.dense_DE)
    return Weights(dense_DE, one.sparse_SE + rate_E * (other.sparse_SE - one.sparse_SE))
