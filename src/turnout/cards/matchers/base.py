"""What a matcher is: fitted on utterances and the expert of each, it scores every expert for a text.

Shape letters: N texts, E experts, D dimensions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from turnout.base import Component
from turnout.errors import ParameterError
from turnout.features import FeatureMap, Floats, check_rows, n_rows


class Matcher(Component):
    """Override `_fit`, `_score`, `_add` and `_remove`. A score is NaN where nothing is known of an expert.

    `signals` are the features it reads of texts; of cards there are also `phrases`, embeddings one below the other,
    `phrase_count` of them per card. `by_card` says whether it can score an expert whose card alone is known,
    `text_only` that it never looks at utterances.
    """

    kind: ClassVar[str] = "matcher"
    signals: tuple[str, ...] = ("embedding",)
    by_card: ClassVar[bool] = False
    text_only: ClassVar[bool] = False

    def fit(self, cards: FeatureMap, texts: FeatureMap, expert_N: NDArray[np.integer[Any]]) -> Self:
        """Learn from N utterances, `expert_N` giving the row of `cards` that each belongs to."""
        self.check()
        check_rows(cards, self.signals)
        check_rows(texts, self.signals, len(expert_N))
        experts = n_rows(cards)
        if not len(expert_N) or expert_N.min() < 0 or expert_N.max() >= experts:
            raise ParameterError(f"{type(self).__name__}: utterances must name experts 0 … {experts - 1}")
        self._fit(cards, texts, np.asarray(expert_N, dtype=np.int64))
        return self

    def score(self, texts: FeatureMap) -> Floats:
        """Scores of shape (N, E); larger is better, on a scale of the matcher's own."""
        self.require_fitted()
        check_rows(texts, self.signals)
        return self._score(texts)

    def add(self, card: FeatureMap, examples: FeatureMap | None = None) -> None:
        """A further expert by its card (one row) and the utterances that the card brings, if any."""
        self.require_fitted()
        self._add(card, examples)

    def remove(self, expert: int) -> None:
        """Forget an expert; later ones move up."""
        self.require_fitted()
        self._remove(expert)

    def _fit(self, cards: FeatureMap, texts: FeatureMap, expert_N: NDArray[np.int64]) -> None:
        raise NotImplementedError

    def _score(self, texts: FeatureMap) -> Floats:
        raise NotImplementedError

    def _add(self, card: FeatureMap, examples: FeatureMap | None) -> None:
        raise NotImplementedError

    def _remove(self, expert: int) -> None:
        raise NotImplementedError
