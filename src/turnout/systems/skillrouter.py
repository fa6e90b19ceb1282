"""SkillRouter: retrieve, then re-rank over name, description and body.

Source: SkillRouter, repository zhengyanzhao1997/SkillRouter (evaluation code; the skills' bodies are not published).

Shape letters: N texts, E experts, M fields' scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turnout import registry
from turnout.cards import Card
from turnout.cards.fusion import Fusion
from turnout.features import Floats
from turnout.stats import bootstrap_mean, paired_bootstrap
from turnout.systems._cards import clinc150, hit, picked, places, searched
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["SKILLROUTER"]

BODY = 10  # utterances that stand for a skill's body
SHARE = 0.5  # of the test utterances, per seed
BLEND = 0.6
FIELDS = ("name", "description", "body")


def _build() -> Mapping[str, Any]:
    return {"encoder": registry.create("signal", "embedding")}


def _scores(cards: Sequence[Card], bodies: Mapping[str, str], texts: Sequence[str]) -> Floats:
    """BM25 and cosine per field, each field indexed as a card of its own: (N, E, 2 × fields)."""
    fields = {
        "name": [Card(c.id, c.name) for c in cards],
        "description": [Card(c.id, c.description) for c in cards],
        "body": [Card(c.id, bodies[c.id]) for c in cards],
    }
    return np.stack([scores for field in FIELDS for scores in searched(fields[field], texts)], axis=2)


def _measure(_system: System, run: Run) -> Figures:
    cards, splits = clinc150(run.data)
    ids, none = [card.id for card in cards], np.zeros(len(cards), dtype=bool)
    hits: dict[str, list[Floats]] = {}
    for number, seed in enumerate(run.seeds):
        mixed = np.random.default_rng(seed).permutation(len(splits["train"][0]))
        bodies: dict[str, list[str]] = {id: [] for id in ids}
        for at in mixed.tolist():
            text, expert = splits["train"][0][at], splits["train"][1][at]
            if len(bodies[expert]) < BODY:
                bodies[expert].append(text)
        joined = {id: ". ".join(texts) for id, texts in bodies.items()}
        tune, test = picked(splits["val"], ids, SHARE, seed), picked(splits["test"], ids, SHARE, seed)
        tune_NEM, test_NEM = _scores(cards, joined, tune[0]), _scores(cards, joined, test[0])
        right_N = places(cards, test[1])
        for count in range(1, len(FIELDS) + 1):
            name, columns = " + ".join(FIELDS[:count]), slice(0, 2 * count)
            ranked = Fusion.fit(tune_NEM[:, :, columns], none, places(cards, tune[1]))
            kinds = {
                "BM25": test_NEM[:, :, columns][:, :, ::2].sum(axis=2),
                "embedding": test_NEM[:, :, columns][:, :, 1::2].sum(axis=2),
                "re-ranked": ranked.logits(test_NEM[:, :, columns], none),
            }
            kinds["fused"] = (1 - BLEND) * kinds["BM25"] + BLEND * kinds["embedding"]
            for kind, scores_NE in kinds.items():
                hits.setdefault(f"{name}, {kind}", []).append(hit(scores_NE, right_N))
                hits.setdefault(f"{name}, {kind} @5", []).append(hit(scores_NE, right_N, 5))
        if run.tick:
            run.tick(number + 1, len(run.seeds))
    joined_hits = {name: np.concatenate(found) for name, found in hits.items()}
    best, bodiless = (joined_hits[f"{fields}, re-ranked"] for fields in (" + ".join(FIELDS), "name + description"))
    return Figures(
        table="clinc150",
        protocol=f"half of the test utterances per seed against 150 cards; a body is {BODY} training utterances; field "
        "weights of the re-ranker are learned on half of the validation split",
        metric="hit@1",
        value=bootstrap_mean(best, seed=0),
        gain=paired_bootstrap(best - bodiless, seed=0),
        against="name + description, re-ranked",
        rows=[
            {"name": name, "hit@1": float(found.mean()), "recall@5": float(joined_hits[f"{name} @5"].mean())}
            for name, found in joined_hits.items()
            if not name.endswith("@5")
        ],
    )


SKILLROUTER = System(
    name="skillrouter",
    number=17,
    title="SkillRouter",
    level="request",
    claim=Claim(
        "74.0 % mean hit@1 over about 80,000 skills; leaving out the body costs every retriever 29 to 44 points.",
        "abstract",
    ),
    parts=("signal:embedding",),
    novelty="estimator",
    build=_build,
    deviations=(
        "The skills' bodies are not published: a body here is ten utterances of an intent, so the figure is about the "
        "claim that the body decides, not about their benchmark.",
        "A static table embeds; the authors use a 0.6B encoder and a 0.6B re-ranker. Re-ranking here is a conditional "
        "logit over the fields' BM25 and cosine.",
    ),
    limits=(
        "150 cards are re-ranked as a whole; retrieving the best few first matters from some thousands on.",
        "Without labelled queries the fields' weights are fixed.",
    ),
    code="github.com/zhengyanzhao1997/SkillRouter",
    table="clinc150",
    measure=_measure,
)
