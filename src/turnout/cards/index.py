"""Cards found by text: BM25 over their fields and cosines of their embeddings, fused; cards come and go live.

Source of the fusion: Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", 2023: a convex
combination of the cosine and of BM25 divided by the most that the query could reach.

Shape letters: C slots, K candidates, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.cards.card import Card, unique
from turnout.cards.lexical import WEIGHTS, Lexical
from turnout.cards.vectors import Vectors
from turnout.errors import CardError, ParameterError, did_you_mean
from turnout.features import Features, Floats
from turnout.signals.embedding import Embedding

POOL = 256  # candidates that each of the two searches may bring to the fusion
SPARE = 1024  # removed slots that are kept before the index is rebuilt without them

Encode = Callable[[Sequence[str]], Features]


@dataclass(frozen=True, slots=True)
class Hit:
    """A card found: the fused score, and the two it was made of (BM25 as a share of the most possible)."""

    card: Card
    score: float
    lexical: float
    dense: float


class CardIndex:
    """Finds cards by text. `blend` is the cosine's share of the fused score: 0 is BM25 alone, 1 the embedding alone.

    `encode` turns N texts into unit rows (N, D); the shipped static table unless another encoder is given, such as
    `Sentence().transform`.

    >>> index = CardIndex([Card("weather", "Weather", "Forecasts for any city"), Card("stocks", "Stocks", "Prices")])
    >>> index.search("will it rain in the city of Lima?", k=1)[0].card.id
    'weather'

    Limits: BM25 matches words, the embedding is that of name and description; a body is searched by its words alone.
    """

    def __init__(
        self,
        cards: Iterable[Card] = (),
        *,
        blend: float = 0.75,
        weights: Mapping[str, float] = WEIGHTS,
        encode: Encode | None = None,
    ) -> None:
        if not 0.0 <= blend <= 1.0:
            raise ParameterError(f"`blend` must be a number in [0, 1], got {blend!r}")
        if unknown := set(weights) - set(WEIGHTS):
            raise ParameterError(f"`weights` must name fields among {', '.join(WEIGHTS)}, got {sorted(unknown)}")
        self.blend, self.weights = blend, dict(weights)
        self._encode = encode or Embedding().transform
        self._clear()
        self.add(cards)

    def _clear(self) -> None:
        self._slot_of: dict[str, int] = {}
        self._cards: list[Card | None] = []
        self._lexical = Lexical(self.weights)
        self._vectors: Vectors | None = None

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, id: object) -> bool:
        return id in self._slot_of

    def like(self, cards: Iterable[Card]) -> CardIndex:
        """An index of other cards that reads and weighs text as this one does."""
        return CardIndex(cards, blend=self.blend, weights=self.weights, encode=self._encode)

    @property
    def cards(self) -> tuple[Card, ...]:
        """What can be found now, in order of arrival."""
        return tuple(card for card in self._cards if card is not None)

    def add(self, cards: Card | Iterable[Card]) -> None:
        """Make cards findable. All of them or none: raises CardError where an id repeats or is there already."""
        new = unique([cards] if isinstance(cards, Card) else cards, self._slot_of)
        if new:
            self._append(new, np.asarray(self._encode([card.summary for card in new]), dtype=np.float32))

    def _append(self, cards: Sequence[Card], rows_ND: Floats) -> None:
        if self._vectors is None:
            self._vectors = Vectors(rows_ND.shape[1])
        self._vectors.add(rows_ND)
        for card in cards:
            self._lexical.add(card.fields())
            self._slot_of[card.id] = len(self._cards)
            self._cards.append(card)

    def remove(self, ids: str | Iterable[str]) -> None:
        """Take cards out. All of them or none: raises CardError for an id that is not there."""
        gone = [ids] if isinstance(ids, str) else list(dict.fromkeys(ids))
        for id in gone:
            if id not in self._slot_of:
                raise CardError(
                    f"no card {id!r}{did_you_mean(id, islice(self._slot_of, 1000))} {len(self):,} cards known"
                )
        for id in gone:
            slot = self._slot_of.pop(id)
            self._lexical.remove(slot)
            if self._vectors is not None:
                self._vectors.remove(slot)
            self._cards[slot] = None
        if len(self._cards) - len(self) > max(SPARE, len(self) // 4):
            self._compact()

    def _compact(self) -> None:
        """Rebuild without the removed slots; embeddings are kept."""
        kept, vectors = [slot for slot, card in enumerate(self._cards) if card is not None], self._vectors
        cards = self.cards
        self._clear()
        if vectors is not None and cards:
            self._append(cards, vectors.rows[kept])

    def search(self, text: str, k: int = 10) -> list[Hit]:
        """The k best cards for a text, best first; ties go to the card that came first. Raises CardError."""
        if not isinstance(text, str):
            raise CardError(f"a query must be a text, got {type(text).__name__}")
        if not isinstance(k, int) or k < 1:
            raise ParameterError(f"`k` must be a positive integer, got {k!r}")
        slots_K, lexical_K, dense_K = self.candidates(text, max(k, POOL))
        fused_K = (1.0 - self.blend) * lexical_K + self.blend * dense_K
        best = np.lexsort((slots_K, -fused_K))[:k]
        found = ((self._cards[slots_K[at]], at) for at in best)
        return [
            Hit(card, float(fused_K[at]), float(lexical_K[at]), float(dense_K[at]))
            for card, at in found
            if card is not None
        ]

    def candidates(self, text: str, pool: int = POOL) -> tuple[NDArray[np.intp], Floats, Floats]:
        """Slots worth a look with BM25 (as a share of the most possible) and cosine of each, three arrays (K,).

        Everything where there are at most `pool` cards, else the union of the `pool` best by either.
        """
        live = np.array(sorted(self._slot_of.values()), dtype=np.intp) if len(self) <= pool else None
        if self._vectors is None or not len(self):
            return np.empty(0, dtype=np.intp), np.empty(0, np.float32), np.empty(0, np.float32)
        row_D = np.asarray(self._encode([text]))[0]
        if live is None:
            live = self._union(self._lexical.rough(text), row_D, pool)
        lexical_K = self._lexical.at(text, live) / np.float32(self._lexical.most(text) or 1.0)
        return live, lexical_K, self._vectors.cosines(row_D, live)

    def scores(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """BM25 (as a share of the most possible) and cosine of every card in order, each of shape (N, cards)."""
        live = [slot for slot, card in enumerate(self._cards) if card is not None]
        if self._vectors is None or not texts:
            empty = np.zeros((len(texts), len(live)), dtype=np.float32)
            return empty, empty
        most_N = np.array([self._lexical.most(text) or 1.0 for text in texts], dtype=np.float32)
        lexical_NE = np.stack([self._lexical.scores(text)[live] for text in texts]) / most_N[:, None]
        return lexical_NE, np.asarray(self._encode(texts)) @ self._vectors.rows[live].T

    def _union(self, lexical_C: NDArray[np.float32], row_D: Floats, pool: int) -> NDArray[np.intp]:
        assert self._vectors is not None
        spare = len(self._cards) - len(self)
        wide = pool + spare
        near = self._vectors.near(row_D, pool)
        place = _largest(self._vectors.cosines(row_D, near), wide)
        dense = place if near is None else near[place]
        hits = np.flatnonzero(lexical_C)
        lexical = hits[_largest(lexical_C[hits], wide)]
        both = np.union1d(dense, lexical)
        return both[[self._cards[slot] is not None for slot in both.tolist()]]

    def state(self) -> dict[str, Any]:
        """What `restore` needs: cards and their embeddings."""
        kept = [slot for slot, card in enumerate(self._cards) if card is not None]
        rows = np.empty((0, 0), np.float32) if self._vectors is None else self._vectors.rows[kept]
        cards = [card.to_dict() for card in self.cards]
        return {"cards": cards, "rows": rows, "blend": self.blend, "weights": self.weights}

    @classmethod
    def restore(cls, state: Mapping[str, Any], encode: Encode | None = None) -> CardIndex:
        """The index whose `state` was taken."""
        made = cls(blend=state["blend"], weights=state["weights"], encode=encode)
        cards = [Card.parse(given) for given in state["cards"]]
        if cards:
            made._append(cards, np.asarray(state["rows"]))
        return made


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places of the largest values, in no order."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, len(values) - count)[len(values) - count :]
