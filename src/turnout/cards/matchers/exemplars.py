"""The mean cosine to an expert's nearest utterances."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number
from turnout.cards.matchers.base import Matcher
from turnout.features import FeatureMap, Floats

__all__ = ["Exemplars"]


class Exemplars(Matcher):
    """Per expert, the mean cosine of the text to its `nearest` closest utterances; NaN for one without utterances.

    Nothing is fitted: utterances that a new card brings count at once. Source: Cover and Hart, "Nearest neighbor
    pattern classification", 1967, per class. Limits: a query costs a product with every utterance.
    """

    rules: ClassVar = {"nearest": Number(1, 100, integer=True)}

    def __init__(self, nearest: int = 3) -> None:
        self.nearest = nearest

    def _fit(self, cards: FeatureMap, texts: FeatureMap, expert_N: NDArray[np.int64]) -> None:
        order_N = np.argsort(expert_N, kind="stable")
        self.rows_ = np.asarray(texts["embedding"], dtype=np.float32)[order_N]
        self.count_ = np.bincount(expert_N, minlength=len(cards["embedding"]))

    def _score(self, texts: FeatureMap) -> Floats:
        cosine_NT = np.asarray(texts["embedding"]) @ self.rows_.T
        ends = [0, *np.cumsum(self.count_).tolist()]
        scores_NE = np.full((len(cosine_NT), len(self.count_)), np.nan, dtype=np.float32)
        for expert, count in enumerate(self.count_.tolist()):
            if count:
                own, k = cosine_NT[:, ends[expert] : ends[expert + 1]], min(self.nearest, count)
                scores_NE[:, expert] = np.partition(own, count - k, axis=1)[:, count - k :].mean(axis=1)
        return scores_NE

    def _add(self, card: FeatureMap, examples: FeatureMap | None) -> None:
        rows = np.empty((0, self.rows_.shape[1]), np.float32) if examples is None else np.asarray(examples["embedding"])
        self.rows_ = np.concatenate([self.rows_, rows]).astype(np.float32)
        self.count_ = np.append(self.count_, len(rows))

    def _remove(self, expert: int) -> None:
        start = int(self.count_[:expert].sum())
        self.rows_ = np.delete(self.rows_, slice(start, start + int(self.count_[expert])), axis=0)
        self.count_ = np.delete(self.count_, expert)
