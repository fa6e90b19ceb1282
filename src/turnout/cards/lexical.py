"""BM25 over the fields of cards, kept live: a card comes or goes without touching the others.

Source: Robertson, Zaragoza and Taylor, "Simple BM25 extension to multiple weighted fields" (BM25F), 2004.
Here a field's length is normalised by a fixed length instead of the collection's mean, so that a term's weight in a
card depends on that card alone and only the inverse document frequency moves when cards come and go.

Shape letters: C slots (cards, in order of arrival), P postings.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from turnout.cards.words import words

K1, B = 1.2, 0.5
COMMON = 0.1  # of the cards
USUAL = {
    "name": 3.0,
    "description": 40.0,
    "body": 200.0,
    "examples": 100.0,
}  # words: what a field's length is set against
WEIGHTS = {"name": 2.0, "description": 1.0, "body": 0.5, "examples": 1.0}


class Lexical:
    """Postings of terms to slots. `add` and `remove` cost as much as the card has words.

    A removed slot keeps its postings, which the owner masks, until it rebuilds.

    >>> index = Lexical()
    >>> for text in ("weather forecast", "stock prices and forecasts"):
    ...     index.add({"description": text})
    >>> index.scores("forecast the weather").round(2)
    array([1.18, 0.24], dtype=float32)
    """

    def __init__(self, weights: Mapping[str, float] = WEIGHTS) -> None:
        self.weights = dict(weights)
        self.size = self.live = 0
        self._postings: dict[str, _Posting] = {}
        self._terms: list[tuple[_Posting, ...]] = []

    def add(self, fields: Mapping[str, str]) -> None:
        """Append a card as the next slot."""
        frequency: dict[str, float] = {}
        for name, weight in self.weights.items():
            found = words(fields[name]) if fields.get(name) else ()
            if found and weight:
                share = weight / (1.0 - B + B * len(found) / USUAL[name])
                for term, count in Counter(found).items():
                    frequency[term] = frequency.get(term, 0.0) + share * count
        postings = []
        for term, tf in frequency.items():
            posting = self._postings.get(term)
            if posting is None:
                posting = self._postings[term] = _Posting()
            posting.append(self.size, tf * (K1 + 1.0) / (tf + K1))
            postings.append(posting)
        self._terms.append(tuple(postings))
        self.size += 1
        self.live += 1

    def remove(self, slot: int) -> None:
        """Take a card out of the statistics; its slot scores as before until the owner masks it."""
        for posting in self._terms[slot]:
            posting.live -= 1
        self._terms[slot] = ()
        self.live -= 1

    def idf(self, term: str) -> float:
        """ln(1 + (C − n + ½) / (n + ½)) for a term that n of C live cards hold."""
        posting = self._postings.get(term)
        holders = posting.live if posting else 0
        return math.log1p((self.live - holders + 0.5) / (holders + 0.5))

    def scores(self, text: str) -> NDArray[np.float32]:
        """BM25 of every slot, shape (C,), removed ones included."""
        return self._summed(self._found(text))

    def rough(self, text: str) -> NDArray[np.float32]:
        """As `scores`, without the terms that more than one in ten live cards hold where there are rarer ones.

        Common terms weigh little and cost most; `at` brings them in for the slots that matter.
        """
        found = self._found(text)
        rare = [(posting, weight) for posting, weight in found if 0 < posting.live <= COMMON * self.live]
        return self._summed(rare or found)

    def at(self, text: str, slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """BM25 of some slots alone."""
        scores_K = np.zeros(len(slots), dtype=np.float32)
        for posting, weight in self._found(text):
            holders, impacts = posting.arrays()
            place = np.minimum(np.searchsorted(holders, slots), len(holders) - 1)
            scores_K += np.where(holders[place] == slots, weight * impacts[place], np.float32(0.0))
        return scores_K

    def _found(self, text: str) -> list[tuple[_Posting, np.float32]]:
        """Postings of the text's terms, each with its weight."""
        counts = Counter(words(text)).items()
        known = ((term, count, self._postings.get(term)) for term, count in counts)
        return [(posting, np.float32(self.idf(term) * count)) for term, count, posting in known if posting is not None]

    def _summed(self, found: list[tuple[_Posting, np.float32]]) -> NDArray[np.float32]:
        scores_C = np.zeros(self.size, dtype=np.float32)
        for posting, weight in found:
            slots, impacts = posting.arrays()
            scores_C[slots] += weight * impacts
        return scores_C

    def most(self, text: str) -> float:
        """What no card can exceed for this text: the score of a card that repeats every known term without end."""
        found = Counter(words(text)).items()
        held = ((term, count) for term, count in found if (p := self._postings.get(term)) and p.live)
        return sum(self.idf(term) * count for term, count in held) * (K1 + 1.0)


class _Posting:
    """Slots that hold a term, and the term's weight there."""

    __slots__ = ("_impacts", "_slots", "live")

    def __init__(self) -> None:
        self._slots, self._impacts = array("i"), array("f")
        self.live = 0

    def append(self, slot: int, impact: float) -> None:
        self._slots.append(slot)
        self._impacts.append(impact)
        self.live += 1

    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        return np.array(self._slots, dtype=np.int32), np.array(self._impacts, dtype=np.float32)
