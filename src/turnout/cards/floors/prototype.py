"""The cosine to the nearest mean utterance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turnout.cards.floors.base import Evidence, Floor
from turnout.features import FeatureMap, Floats

__all__ = ["Prototype"]


class Prototype(Floor):
    """The largest cosine of the embedding to the mean embedding of any expert's utterances.

    Source: Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", 2017. Limits: an expert without
    utterances has no prototype, and one with several kinds of request has one in between.
    """

    signals = ("embedding",)

    def _fit(self, texts: FeatureMap, expert_N: NDArray[np.int64]) -> None:
        rows = np.asarray(texts["embedding"], dtype=np.float32)
        mean_ED = np.zeros((int(expert_N.max()) + 1, rows.shape[1]), dtype=np.float32)
        np.add.at(mean_ED, expert_N, rows)
        mean_ED = mean_ED[np.linalg.norm(mean_ED, axis=1) > 0]
        self.prototype_ = mean_ED / np.linalg.norm(mean_ED, axis=1, keepdims=True)

    def _score(self, evidence: Evidence) -> Floats:
        self.require_fitted()
        return np.asarray((np.asarray(evidence.texts["embedding"]) @ self.prototype_.T).max(axis=1))
