"""The Mahalanobis distance to the nearest mean utterance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number
from turnout.cards.floors.base import Evidence, Floor
from turnout.features import FeatureMap, Floats

__all__ = ["Mahalanobis"]


class Mahalanobis(Floor):
    """Minus the least squared distance to an expert's mean under the experts' common covariance.

    Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
    2018. `shrinkage` mixes the covariance with its mean variance. Limits: an expert without utterances has no mean.
    """

    signals = ("embedding",)
    rules: ClassVar = {"shrinkage": Number(0.0, 1.0)}

    def __init__(self, shrinkage: float = 0.2) -> None:
        self.shrinkage = shrinkage

    def _fit(self, texts: FeatureMap, expert_N: NDArray[np.int64]) -> None:
        rows = np.asarray(texts["embedding"], dtype=np.float64)
        _, expert_N = np.unique(expert_N, return_inverse=True)
        mean_ED = np.zeros((int(expert_N.max()) + 1, rows.shape[1]))
        np.add.at(mean_ED, expert_N, rows)
        mean_ED /= np.bincount(expert_N)[:, None]
        apart_ND = rows - mean_ED[expert_N]
        within_DD = apart_ND.T @ apart_ND / len(rows)
        even = np.trace(within_DD) / len(within_DD) + 1e-9
        shrunk_DD = (1.0 - self.shrinkage) * within_DD + (self.shrinkage + 1e-6) * even * np.eye(len(within_DD))
        root_DD = np.linalg.cholesky(np.linalg.inv(shrunk_DD))
        self.root_, self.mean_ = root_DD.astype(np.float32), (mean_ED @ root_DD).astype(np.float32)

    def _score(self, evidence: Evidence) -> Floats:
        self.require_fitted()
        white_ND = np.asarray(evidence.texts["embedding"]) @ self.root_
        closeness_N = (2.0 * white_ND @ self.mean_.T - (self.mean_**2).sum(axis=1)).max(axis=1)
        return np.asarray(closeness_N - (white_ND**2).sum(axis=1))
