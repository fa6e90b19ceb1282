"""Ridge regression of each expert's score on several signals at once."""

from __future__ import annotations

import numpy as np

from turnout.estimators._linear import Design, Spectrum, Weights, solve
from turnout.estimators._model import LinearModel
from turnout.features import Floats

__all__ = ["Ridge"]


class Ridge(LinearModel):
    """Per-expert ridge regression over the signals `on`, dense or sparse.

    `penalty` None takes the one, for all experts, that tells contenders apart best on queries left out (PRESS); each
    signal's block has unit mean squared norm, so a penalty is in units of queries. `fewer` names subsets of the signals
    on which models of their own are fitted; the mean of all linear predictors counts. The standard error is that of
    Bayesian linear regression: noise (leave-one-out) times leverage. Limits: linear in its signals; leverage on sparse
    columns takes them as uncorrelated; near-duplicate queries in the log make for too small a penalty.

    >>> x_ND, scores_NE = np.linspace(-1, 1, 40)[:, None], np.linspace(0.2, 0.8, 40)[:, None]
    >>> fitted = Ridge(on=("x",)).fit({"x": x_ND}, scores_NE)
    >>> fitted.predict({"x": np.array([[0.0], [1.0]])})[0].round(2).ravel().tolist()
    [0.5, 0.8]
    """

    def _learn(
        self, design: Design, spectrum: Spectrum, scores_NE: Floats, weights_NE: Floats, center_E: Floats
    ) -> Weights:
        return solve(design, spectrum, scores_NE - center_E, weights_NE, self.penalty_)

    def _level(self, center_E: Floats) -> Floats:
        return center_E

    def link(self, predictor: Floats) -> Floats:
        """The predictor within [0, 1]."""
        return np.minimum(np.maximum(predictor, 0.0), 1.0)
