"""Every query gets the expert's mean score: the estimator behind "best single expert"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats, n_rows

__all__ = ["Constant"]


class Constant(Estimator):
    """The weighted mean score of each expert, whatever the query.

    Limits: it knows nothing about the query. It is the baseline that every router has to beat.

    >>> fitted = Constant().fit({"x": np.zeros((2, 1))}, np.array([[1.0, 0.0], [0.0, np.nan]]))
    >>> fitted.predict({"x": np.zeros((1, 1))})[0].tolist()
    [[0.5, 0.0]]
    """

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self.mean_E_, self.se_E_ = weighted_mean(scores_NE, weights_NE)

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        shape = (n_rows(features), len(self.mean_E_))
        return np.broadcast_to(self.mean_E_, shape).copy(), np.broadcast_to(self.se_E_, shape).copy()

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        mean, se = weighted_mean(scores_N[:, None], np.isfinite(scores_N[:, None]).astype(float))
        self.mean_E_, self.se_E_ = np.append(self.mean_E_, mean), np.append(self.se_E_, se)

    def _remove_expert(self, column: int) -> None:
        self.mean_E_, self.se_E_ = np.delete(self.mean_E_, column), np.delete(self.se_E_, column)
