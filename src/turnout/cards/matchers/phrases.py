"""The cosine to the nearest phrase of a card."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.cards.matchers.base import Matcher
from turnout.features import FeatureMap, Floats

__all__ = ["Phrases"]


class Phrases(Matcher):
    """Per expert, the largest cosine of the text to a phrase of the card: its name, and its sentences cut at commas.

    A card that lists many tasks is near to each of them, though its embedding as a whole is near to none. Source: the
    maximum over parts of Khattab and Zaharia, "ColBERT", 2020, over phrases instead of tokens. Limits: a phrase of
    common words is near to everything, for which the router corrects.
    """

    by_card = True
    text_only = True
    signals = ("embedding",)
    rules: ClassVar = {}

    def _fit(self, cards: FeatureMap, texts: FeatureMap, expert_N: NDArray[np.int64]) -> None:
        self.rows_, self.count_ = np.asarray(cards["phrases"]), _counts(cards)

    def _score(self, texts: FeatureMap) -> Floats:
        cosine_NP = np.asarray(texts["embedding"]) @ self.rows_.T
        return np.asarray(np.maximum.reduceat(cosine_NP, np.cumsum(self.count_) - self.count_, axis=1))

    def _add(self, card: FeatureMap, examples: FeatureMap | None) -> None:
        self.rows_ = np.concatenate([self.rows_, np.asarray(card["phrases"])])
        self.count_ = np.concatenate([self.count_, _counts(card)])

    def _remove(self, expert: int) -> None:
        start = int(self.count_[:expert].sum())
        self.rows_ = np.delete(self.rows_, slice(start, start + int(self.count_[expert])), axis=0)
        self.count_ = np.delete(self.count_, expert)


def _counts(cards: FeatureMap) -> NDArray[np.int64]:
    return np.asarray(cards["phrase_count"]).astype(np.int64)
