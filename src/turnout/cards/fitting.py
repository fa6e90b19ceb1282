"""What a card router learns from labelled utterances, in two passes.

A rehearsal hides some experts and adds them back by their cards alone, which teaches how newcomers' scores compare
with the others'. Then everything is fitted again on all experts. Texts held out from both passes set the fusion's
weights (one half) and calibrate the set and the floor (the other half).

Shape letters: N texts, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.cards.conformal import lowest, slack
from turnout.cards.floors.base import Evidence, Floor
from turnout.cards.floors.max_score import MaxScore
from turnout.cards.fusion import Fusion
from turnout.cards.index import CardIndex
from turnout.cards.matchers.base import Matcher
from turnout.cards.router import Learned, all_scores, clones, extend, levelled, read, read_cards, recede
from turnout.errors import CardError, ParameterError, did_you_mean
from turnout.signals.base import Signal
from turnout.stats import near_duplicates

FEWEST = 10  # experts with utterances, from which on a rehearsal can hide some
HIDDEN = 0.25  # of the experts
HELD_OUT = 0.15  # of the texts, for calibration, where the caller brings none
MOST = 5000  # cards
SIGNALS = ("embedding", "tfidf")
MATCHERS = ("phrases", "discriminant", "exemplars", "linear")
BACKGROUND = 1024  # texts that are kept with the router

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Utterances:
    """Texts and the place of their experts among the cards."""

    texts: tuple[str, ...]
    expert_N: Int

    def where(self, keep_N: NDArray[Any]) -> Utterances:
        """Those of a mask."""
        rows = np.flatnonzero(keep_N)
        return Utterances(tuple(self.texts[row] for row in rows.tolist()), self.expert_N[rows])


def fit(
    index: CardIndex,
    texts: Sequence[str],
    experts: Sequence[str],
    *,
    calibration: tuple[Sequence[str], Sequence[str]] | None = None,
    matchers: Sequence[Matcher] | None = None,
    floor: Floor | None = None,
    signals: dict[str, Signal] | None = None,
    encoder: Signal | None = None,
    coverage: float = 0.95,
    cede: float = 0.03,
    seed: int = 0,
) -> Learned:
    """Fit on texts whose experts are named. `calibration` holds further ones that only set weights and thresholds.

    `encoder` is the signal `embedding` where `signals` are not given: what the index reads too.
    `cede` is the share of texts rightly given to an expert with utterances that newcomers may take from it: more of it
    finds newcomers' texts more often. `coverage` is both the probability that the set holds the right expert and the
    share of in-scope texts above the floor. Raises CardError for unknown experts or too few texts.
    """
    if not isinstance(coverage, (int, float)) or not 0.0 < coverage < 1.0:
        raise ParameterError(f"`coverage` must be a number in (0, 1), got {coverage!r}")
    if not isinstance(cede, (int, float)) or not 0.0 <= cede < 1.0:
        raise ParameterError(f"`cede` must be a number in [0, 1), got {cede!r}")
    train = _utterances(index, texts, experts)
    if calibration is None:
        train, held = _split(train, seed)
    else:
        held = _utterances(index, *calibration)
        if len(held.texts) < 2:
            raise CardError("`calibration` needs two texts or more: one half sets weights, the other thresholds")
    found = dict(signals) if signals is not None else {name: registry.create("signal", name) for name in SIGNALS}
    if signals is None and encoder is not None:
        found["embedding"] = encoder.clone()
    for signal in found.values():
        signal.fit([*train.texts, *(card.summary for card in index.cards)])
    parts = _Parts(
        found,
        clones(matchers if matchers is not None else [registry.create("matcher", name) for name in MATCHERS]),
        floor if floor is not None else MaxScore(),
        coverage,
        cede,
        seed,
    )
    tuning_N = np.random.default_rng(seed).permutation(len(held.texts)) % 2 == 0
    taught = _rehearse(index, parts, train, held.where(tuning_N))
    return _settle(index, parts, (train, held), tuning_N, taught)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is fitted in each pass (signals are fitted already), and how."""

    signals: dict[str, Signal]
    matchers: tuple[Matcher, ...]
    floor: Floor
    coverage: float
    cede: float
    seed: int

    def fitted(self, index: CardIndex, known: Utterances, background: tuple[str, ...], fusion: Fusion) -> Learned:
        """Fresh copies fitted on utterances of some of the cards."""
        cards = index.cards
        described, texts = read_cards(self.signals, cards), read(self.signals, known.texts)
        matchers = tuple(matcher.fit(described, texts, known.expert_N) for matcher in clones(self.matchers))
        new = {card.id for card in cards} - {cards[e].id for e in np.unique(known.expert_N).tolist()}
        floor = self.floor.clone().fit(texts, known.expert_N)
        learned = Learned(self.signals, matchers, floor, fusion, background, np.empty(0), new)
        learned.level = levelled(index, learned)
        return learned


def _rehearse(whole: CardIndex, parts: _Parts, train: Utterances, tuning: Utterances) -> tuple[Fusion, float] | None:
    """Hide experts and add them back by their cards: the fusion's weights, and the floor for newcomers."""
    cards = whole.cards
    spoken = np.unique(train.expert_N)
    if len(spoken) < FEWEST or len(tuning.texts) < FEWEST:
        return None
    new = np.sort(np.random.default_rng(parts.seed).permutation(spoken)[: max(1, round(HIDDEN * len(spoken)))])
    stay = np.setdiff1d(np.arange(len(cards)), new)
    place = np.empty(len(cards), dtype=np.int64)  # of a card in the rehearsal
    place[stay], place[new] = np.arange(len(stay)), len(stay) + np.arange(len(new))
    index = whole.like(cards[e] for e in stay.tolist())
    known = train.where(np.isin(train.expert_N, stay))
    background = _some(tuning.where(np.isin(tuning.expert_N, stay)), BACKGROUND, parts.seed).texts
    start = Fusion.even(2 + len(parts.matchers))
    learned = parts.fitted(index, Utterances(known.texts, place[known.expert_N]), background, start)
    index.add(cards[e] for e in new.tolist())
    extend(learned, index, [cards[e] for e in new.tolist()])
    fresh = _some(train.where(np.isin(train.expert_N, new)), len(tuning.texts), parts.seed)
    texts, expert_N = (*tuning.texts, *fresh.texts), place[np.concatenate([tuning.expert_N, fresh.expert_N])]
    new_E = np.arange(len(index)) >= len(stay)
    reading = read(parts.signals, texts)
    scores_NEM = all_scores(index, learned, texts, reading)
    fusion = Fusion.fit(scores_NEM, new_E, expert_N)
    known_N = np.arange(len(texts)) < len(tuning.texts)
    fusion.cede(scores_NEM[known_N], new_E, expert_N[known_N], parts.cede)
    logits_NE = fusion.logits(scores_NEM, new_E)
    scope_N = learned.floor.score(Evidence(logits_NE, reading))
    led_N = new_E[logits_NE.argmax(axis=1)] & new_E[expert_N]
    return fusion, lowest(scope_N[led_N], parts.coverage)


def _settle(
    index: CardIndex,
    parts: _Parts,
    texts: tuple[Utterances, Utterances],
    tuning_N: NDArray[np.bool_],
    taught: tuple[Fusion, float] | None,
) -> Learned:
    """The fit that is kept, on all experts, and its thresholds."""
    train, held = texts
    fusion = taught[0] if taught else Fusion.even(2 + len(parts.matchers))
    background = _some(held.where(tuning_N), BACKGROUND, parts.seed).texts
    learned = parts.fitted(index, train, background, fusion)
    new_E = np.array([card.id in learned.new for card in index.cards], dtype=bool)
    reading = read(parts.signals, held.texts)
    scores_NEM = all_scores(index, learned, held.texts, reading)
    if taught is None and tuning_N.any():
        learned.fusion = Fusion.fit(scores_NEM[tuning_N], new_E, held.expert_N[tuning_N])
    learned.coverage, learned.cede = parts.coverage, parts.cede
    recede(learned, index)
    logits_NE = learned.fusion.logits(scores_NEM, new_E)
    scope_N = learned.floor.score(Evidence(logits_NE, reading))
    free_N = ~tuning_N
    learned.delta = slack(logits_NE[free_N], held.expert_N[free_N], parts.coverage)
    learned.least = lowest(scope_N[free_N], parts.coverage)
    learned.least_new = taught[1] if taught else learned.least
    set_N = (logits_NE >= logits_NE.max(axis=1, keepdims=True) - learned.delta).sum(axis=1)
    learned.evidence = {
        "utterances": len(train.texts),
        "calibration": int(free_N.sum()),
        "accuracy": float((logits_NE.argmax(axis=1) == held.expert_N)[free_N].mean()),
        "set_size": float(set_N[free_N].mean()),
        "rehearsed": taught is not None,
    }
    return learned


def _utterances(index: CardIndex, texts: Sequence[str], experts: Sequence[str]) -> Utterances:
    if len(texts) != len(experts) or not len(texts):
        raise CardError(f"each text needs its expert, got {len(texts)} texts and {len(experts)} experts")
    if len(index) > MOST:
        raise CardError(f"a fitted router scores every card, at most {MOST:,}; got {len(index):,}")
    places = {card.id: place for place, card in enumerate(index.cards)}
    for row, (text, expert) in enumerate(zip(texts, experts, strict=True)):
        if not isinstance(text, str):
            raise CardError(f"text {row + 1}: must be a text, got {type(text).__name__}")
        if expert not in places:
            raise CardError(
                f"text {row + 1}: no card {expert!r}{did_you_mean(str(expert), places)} see the ids of cards"
            )
    return Utterances(tuple(texts), np.array([places[expert] for expert in experts], dtype=np.int64))


def _split(found: Utterances, seed: int) -> tuple[Utterances, Utterances]:
    """Training and calibration texts; near-duplicates stay together."""
    groups_N = near_duplicates(found.texts)
    if groups_N.max() + 1 < FEWEST:
        raise CardError(f"at least {FEWEST} different texts are needed to fit and calibrate, got {groups_N.max() + 1}")
    mixed_G = np.random.default_rng(seed).random(groups_N.max() + 1)
    held_N = mixed_G[groups_N] <= np.quantile(mixed_G, HELD_OUT)
    return found.where(~held_N), found.where(held_N)


def _some(found: Utterances, most: int, seed: int) -> Utterances:
    """At most so many of them, drawn evenly."""
    keep = np.random.default_rng(seed).permutation(len(found.texts)) < most
    return found.where(keep)
