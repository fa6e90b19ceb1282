"""Experts chosen by their cards: a set that holds the right one with a stated probability, or a refusal.

Shape letters: N texts, E experts, M scores (two of the index, then the matchers').
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.base import Component
from turnout.cards.card import Card
from turnout.cards.floors.base import Evidence, Floor
from turnout.cards.fusion import Fusion
from turnout.cards.index import CardIndex
from turnout.cards.matchers.base import Matcher
from turnout.errors import CardError, NotFittedError, ParameterError, StateError
from turnout.features import Features, Floats
from turnout.routers import saving
from turnout.signals.base import Signal
from turnout.signals.embedding import Embedding

KIND = "card router"
_CUTS = re.compile(r"[,.;:()\n]|\b(?:and|or|including|such as)\b")
THRESHOLDS = ("delta", "least", "least_new")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a text is given: a set of experts, the likeliest first, or none and the reason why.

    `scores` are the experts' shares of the softmax over all cards; `scope` is the floor's score of the text and
    `floor` what it would have had to reach.
    """

    experts: tuple[str, ...]
    scores: tuple[float, ...]
    reason: str
    ranking: tuple[tuple[str, float], ...]
    scope: float | None = None
    floor: float | None = None

    @property
    def refused(self) -> bool:
        """Whether no expert should take the text."""
        return not self.experts

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "experts": list(self.experts),
            "scores": list(self.scores),
            "refused": self.refused,
            "reason": self.reason,
            "ranking": [{"id": id, "score": score} for id, score in self.ranking],
            "scope": self.scope,
            "floor": self.floor,
        }


@dataclass
class Learned:
    """What labelled utterances taught: matchers and a floor over signals, the fusion of scores, and the thresholds.

    `background` are texts on which every card's scores are centred and scaled (`level`, shape (2, E, M)): a card in
    general words is near to everything. `new` holds the ids of experts known by their cards alone.
    """

    signals: dict[str, Signal]
    matchers: tuple[Matcher, ...]
    floor: Floor
    fusion: Fusion
    background: tuple[str, ...]
    level: Floats
    new: set[str]
    delta: float = math.inf
    least: float = -math.inf
    least_new: float = -math.inf
    coverage: float = 0.95
    cede: float = 0.03
    evidence: dict[str, Any] = field(default_factory=dict)


class CardRouter:
    """Chooses among experts by their cards; `fit` adds what labelled utterances teach.

    Without labels a text goes to the best card of the index, and nothing is refused. `fit` learns matchers, the
    weights of their scores, the conformal set and the floor; `add` then takes a newcomer by its card, without a refit.

    >>> router = CardRouter([Card("weather", "Weather", "Forecasts"), Card("stocks", "Stocks", "Share prices")])
    >>> router.select("what will the weather be tomorrow").experts
    ('weather',)

    `encoder` embeds cards and texts; `Sentence()` finds more than the shipped static table, at some milliseconds a
    text. An index that is given reads as it was made to.

    Limits: the coverage holds for texts like those it was calibrated on; newcomers' texts were not among them. Not to
    be changed in one thread while another one selects.
    """

    def __init__(
        self,
        cards: Iterable[Card] | CardIndex = (),
        *,
        encoder: Signal | None = None,
        learned: Learned | None = None,
    ) -> None:
        self.encoder = Embedding() if encoder is None else encoder
        self.index = cards if isinstance(cards, CardIndex) else CardIndex(cards, encode=self.encoder.transform)
        self.learned = learned

    @property
    def cards(self) -> tuple[Card, ...]:
        """Experts that can be chosen now."""
        return self.index.cards

    def fit(self, texts: Sequence[str], experts: Sequence[str], **options: Any) -> CardRouter:
        """Learn from labelled utterances, in place; the options are those of `turnout.cards.fitting.fit`."""
        from turnout.cards.fitting import fit

        self.learned = fit(self.index, texts, experts, **{"encoder": self.encoder, **options})
        return self

    def add(self, cards: Card | Iterable[Card]) -> None:
        """Newcomers, by their cards alone; what is known of others stays as it was. Raises CardError."""
        new = [cards] if isinstance(cards, Card) else list(cards)
        self.index.add(new)
        if self.learned is not None:
            extend(self.learned, self.index, new)

    def remove(self, ids: str | Iterable[str]) -> None:
        """Experts that are gone. Raises CardError for an id that is not there."""
        gone = [ids] if isinstance(ids, str) else list(dict.fromkeys(ids))
        places = {card.id: place for place, card in enumerate(self.cards)}
        self.index.remove(gone)
        if self.learned is not None:
            for place in sorted((places[id] for id in gone), reverse=True):
                for matcher in self.learned.matchers:
                    matcher.remove(place)
            self.learned.level = np.delete(self.learned.level, [places[id] for id in gone], axis=1)
            self.learned.new -= set(gone)
            recede(self.learned, self.index)

    def select(self, text: str, *, most: int | None = None) -> Choice:
        """The experts for a text; `most` caps the set, which then keeps no promise of coverage."""
        return self.select_many([text], most=most)[0]

    def select_many(self, texts: Sequence[str], *, most: int | None = None) -> list[Choice]:
        """A choice per text. Raises CardError for what is no text, or without any card, and ParameterError."""
        if most is not None and (not isinstance(most, int) or most < 1):
            raise ParameterError(f"`most` must be a positive integer or None, got {most!r}")
        for text in texts:
            if not isinstance(text, str):
                raise CardError(f"a query must be a text, got {type(text).__name__}")
        if not len(self.index):
            raise CardError("no card to choose from; add one first")
        if self.learned is None:
            return [self._found(text, most or 1) for text in texts]
        return self._chosen(texts, most)

    def _found(self, text: str, most: int) -> Choice:
        hits = self.index.search(text, k=max(most, 5))
        ranking = tuple((hit.card.id, hit.score) for hit in hits)
        best = hits[0]
        why = (
            f"best card: {best.lexical:.2f} of the words' weight, cosine {best.dense:.2f}; not fitted, nothing refused"
        )
        return Choice(tuple(id for id, _ in ranking[:most]), tuple(s for _, s in ranking[:most]), why, ranking)

    def _chosen(self, texts: Sequence[str], most: int | None) -> list[Choice]:
        assert self.learned is not None
        logits_NE, scope_N = self.judge(texts)
        return [self._choice(logit_E, float(scope), most) for logit_E, scope in zip(logits_NE, scope_N, strict=True)]

    def judge(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """Fused scores (N, E) and the floor's scores (N,)."""
        if self.learned is None:
            raise NotFittedError("CardRouter is not fitted; call `fit` first")
        reading = read(self.learned.signals, texts)
        scores_NEM = all_scores(self.index, self.learned, texts, reading)
        logits_NE = self.learned.fusion.logits(scores_NEM, self.new_E)
        return logits_NE, self.learned.floor.score(Evidence(logits_NE, reading))

    @property
    def new_E(self) -> NDArray[np.bool_]:  # noqa: N802 - an array's shape letter
        """Which experts are known by their cards alone."""
        new = set() if self.learned is None else self.learned.new
        return np.array([card.id in new for card in self.cards], dtype=bool)

    def _choice(self, logit_E: Floats, scope: float, most: int | None) -> Choice:
        assert self.learned is not None
        order = np.argsort(-logit_E, kind="stable")
        odds_E = np.exp(logit_E - logit_E[order[0]])
        odds_E /= odds_E.sum()
        ids = [card.id for card in self.cards]
        ranking = tuple((ids[e], float(odds_E[e])) for e in order[:5])
        floor = self.learned.least_new if ids[order[0]] in self.learned.new else self.learned.least
        if scope < floor:
            why = f"out of scope: {scope:.2f} is below the floor {floor:.2f}; nearest is {ids[order[0]]}"
            return Choice((), (), why, ranking, scope, floor)
        kept = [e for e in order[:most] if logit_E[e] >= logit_E[order[0]] - self.learned.delta]
        share = "" if most is None else f", at most {most}"
        why = f"within {self.learned.delta:.2f} of the best score, for a coverage of {self.learned.coverage:.0%}{share}"
        if ids[order[0]] in self.learned.new:
            why += f"; {ids[order[0]]} is known by its card alone"
        return Choice(tuple(ids[e] for e in kept), tuple(float(odds_E[e]) for e in kept), why, ranking, scope, floor)

    def save(self, folder: Path | str) -> None:
        """Write the router to a folder. Raises StateError where something else is there."""
        parts: dict[str, Any] = {"kind": KIND, "encoder": self.encoder, "index": self.index.state(), "learned": None}
        if self.learned is not None:
            found = vars(self.learned)
            thresholds = np.array([found[name] for name in THRESHOLDS])  # as arrays: JSON has no infinity
            parts["learned"] = {
                **{name: value for name, value in found.items() if name not in THRESHOLDS},
                "fusion": self.learned.fusion.state(),
                "new": sorted(self.learned.new),
                "thresholds": thresholds,
            }
        saving.write(Path(folder), parts)

    @classmethod
    def load(cls, folder: Path | str) -> CardRouter:
        """A saved router. Raises StateError."""
        parts = saving.read(Path(folder))
        if parts.get("kind") != KIND:
            raise StateError(f"{folder} holds no {KIND}")
        encoder, found = parts.get("encoder", Embedding()), parts["learned"]  # older folders do not name theirs
        index = CardIndex.restore(parts["index"], encoder.transform)
        if found is None:
            return cls(index, encoder=encoder)
        thresholds = dict(zip(THRESHOLDS, found.pop("thresholds").tolist(), strict=True))
        new, fusion = set(found.pop("new")), Fusion(**found.pop("fusion"))
        return cls(index, encoder=encoder, learned=Learned(**found, **thresholds, fusion=fusion, new=new))


def read(signals: Mapping[str, Signal], texts: Sequence[str]) -> dict[str, Features]:
    """Every signal of the texts."""
    return {name: signal.transform(texts) for name, signal in signals.items()}


def read_cards(signals: Mapping[str, Signal], cards: Sequence[Card]) -> dict[str, Features]:
    """Every signal of the cards' summaries, and the embeddings of their phrases."""
    phrases = [phrases_of(card) for card in cards]
    flat = signals["embedding"].transform([phrase for found in phrases for phrase in found])
    counts = np.array([len(found) for found in phrases], dtype=np.float64)
    return {**read(signals, [card.summary for card in cards]), "phrases": flat, "phrase_count": counts}


def phrases_of(card: Card) -> list[str]:
    """The name of a card and the phrases of its description.

    >>> phrases_of(Card("a", "Balance", "Tells account balances, savings included. Helps."))
    ['Balance', 'Tells account balances', 'savings included']
    """
    found = (phrase.strip() for phrase in _CUTS.split(card.description))
    return [card.name, *(phrase for phrase in found if " " in phrase)]


def all_scores(index: CardIndex, learned: Learned, texts: Sequence[str], reading: Mapping[str, Features]) -> Floats:
    """Scores of shape (N, E, M): BM25 and cosine of the index, then the matchers', each card at its level."""
    raw_NEM = np.stack([*index.scores(texts), *(matcher.score(reading) for matcher in learned.matchers)], axis=2)
    return np.asarray((raw_NEM - learned.level[0]) / learned.level[1])


def extend(learned: Learned, index: CardIndex, cards: Sequence[Card]) -> None:
    """Tell the matchers of newcomers, which the index has already."""
    for card in cards:
        row = read_cards(learned.signals, [card])
        examples = read(learned.signals, card.examples) if card.examples else None
        for matcher in learned.matchers:
            matcher.add(row, examples)
        learned.new.add(card.id)
    before, after = learned.level, levelled(index, learned)
    after[:, : before.shape[1]] = before  # an earlier card keeps the level it was given
    learned.level = after
    recede(learned, index)


def recede(learned: Learned, index: CardIndex) -> None:
    """Set the newcomers' bias so that they take the ceded share of the background, whose texts are the others'."""
    new_E = np.array([card.id in learned.new for card in index.cards], dtype=bool)
    if not learned.background or not new_E.any() or new_E.all():
        return
    scores_NEM = all_scores(index, learned, learned.background, read(learned.signals, learned.background))
    best_N = learned.fusion.logits(scores_NEM, new_E & False)[:, ~new_E].argmax(axis=1)
    place_N = np.flatnonzero(~new_E)[best_N]
    learned.fusion.cede(scores_NEM, new_E, place_N, learned.cede)


def levelled(index: CardIndex, learned: Learned) -> Floats:
    """Mean and spread of what each card's text scores on the background, (2, E, M).

    A newcomer is set against its own level, the others against their common one, as their utterances speak for them;
    scores of utterances stay as they are.
    """
    reading = read(learned.signals, learned.background)
    own = [matcher.score(reading) if matcher.text_only else None for matcher in learned.matchers]
    new_E = np.array([card.id in learned.new for card in index.cards], dtype=bool)
    level = np.zeros((2, len(index), 2 + len(own)))
    level[1] = 1.0
    for column, scores_NE in enumerate([*index.scores(learned.background), *own]):
        if scores_NE is None or not len(scores_NE):
            continue
        mean_E, spread_E = scores_NE.mean(axis=0), scores_NE.std(axis=0)
        level[0, :, column] = np.where(new_E | new_E.all(), mean_E, mean_E[~new_E].mean() if not new_E.all() else 0.0)
        spread_E = np.where(new_E | new_E.all(), spread_E + scores_NE.std() / 10, spread_E[~new_E | new_E.all()].mean())
        level[1, :, column] = spread_E + 1e-9
    return level


def clones(parts: Sequence[Any]) -> tuple[Any, ...]:
    """Unfitted copies of components."""
    return tuple(part.clone() for part in parts if isinstance(part, Component))
