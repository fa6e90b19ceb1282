"""What an estimator is: from features and logged scores to a mean and a standard error per expert.

Shape letters: N queries, E experts, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from turnout.base import Component
from turnout.features import FeatureMap, Floats, check_rows


class Estimator(Component):
    """Predicts per expert. Override the four hooks; scikit-learn may be imported inside `_fit` only."""

    kind: ClassVar[str] = "estimator"

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that `fit` and `predict` read."""
        return ()

    @property
    def models(self) -> int:
        """How many fitted models one prediction is the mean of; an `Average` counts the estimator that often."""
        return 1

    def fit(
        self,
        features: FeatureMap,
        scores_NE: Floats,
        *,
        weights_NE: Floats | None = None,
        tasks: Sequence[str] | None = None,
    ) -> Self:
        """Learn from scores of shape (N, E) in [0, 1]; NaN marks what was not observed.

        `weights_NE` are importance weights (1 / propensity on a partial log); `tasks` are N task names, where known.
        """
        self.check()
        scores_NE = np.asarray(scores_NE, dtype=np.float64)
        if scores_NE.ndim != 2 or not scores_NE.size:
            raise ValueError(f"scores must have shape (N, E) with N, E >= 1, got {scores_NE.shape}")
        if not np.isfinite(scores_NE).any(axis=0).all():
            raise ValueError("every expert needs at least one observed score; a column holds none")
        check_rows(features, self.signals, len(scores_NE))
        observed_NE = np.isfinite(scores_NE)
        weights_NE = np.where(observed_NE, 1.0 if weights_NE is None else weights_NE, 0.0)
        self._fit(features, scores_NE, weights_NE, tasks)
        return self

    def predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        """Mean and standard error of the mean (not the noise of one outcome), each of shape (N, E)."""
        self.require_fitted()
        return self._predict(features)

    def add_expert(self, features: FeatureMap, scores_N: Floats) -> Self:
        """Append one expert, known by scores on the given queries; the others' predictions do not change."""
        self.require_fitted()
        check_rows(features, self.signals, len(scores_N))
        seen_N = np.isfinite(scores_N)
        if not seen_N.any():
            raise ValueError("the new expert needs at least one observed score")
        self._add_expert(features, np.asarray(scores_N, dtype=np.float64))
        return self

    def remove_expert(self, column: int) -> Self:
        """Forget one expert; the others' predictions do not change."""
        self.require_fitted()
        self._remove_expert(column)
        return self

    def rewired(self, others: Mapping[str, str]) -> Self:
        """An unfitted copy that reads other signals in place of those named, as do the estimators in its parameters.

        >>> from turnout.estimators.knn import KNN
        >>> KNN().rewired({"embedding": "sentence"}).signals
        ('sentence',)
        """
        return self.clone(**{key: _renamed(value, others) for key, value in self.params().items()})

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        raise NotImplementedError

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        raise NotImplementedError

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        raise NotImplementedError

    def _remove_expert(self, column: int) -> None:
        raise NotImplementedError


def _renamed(value: Any, others: Mapping[str, str]) -> Any:
    """A parameter with other names in place of its own."""
    if isinstance(value, Estimator):
        return value.rewired(others)
    if isinstance(value, tuple):
        return tuple(_renamed(part, others) for part in value)
    return others.get(value, value) if isinstance(value, str) else value


def weighted_mean(scores_NE: Floats, weights_NE: NDArray[Any]) -> tuple[Floats, Floats]:
    """Mean over queries and its standard error, per expert, ignoring NaN: two arrays of shape (E,)."""
    filled_NE = np.where(np.isfinite(scores_NE), scores_NE, 0.0)
    total_E = weights_NE.sum(axis=0)
    mean_E = (weights_NE * filled_NE).sum(axis=0) / np.maximum(total_E, 1e-12)
    variance_E = (weights_NE * (filled_NE - mean_E) ** 2).sum(axis=0) / np.maximum(total_E, 1e-12)
    effective_E = total_E**2 / np.maximum((weights_NE**2).sum(axis=0), 1e-12)
    return mean_E, np.sqrt(variance_E / np.maximum(effective_E, 1.0))
