"""TCAR: a set of agents for a request, chosen by their cards, or a refusal; an agent is added by its card.

Source: Tencent's TCAndon-Router, repository Tencent/TCAndon-Router (router prompt, agent cards, evaluation script).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems import _agents
from turnout.systems.base import Claim, System

__all__ = ["TCAR"]


def _build() -> Mapping[str, Any]:
    return _agents.build(registry.create("signal", "embedding"), cede=0.03)


TCAR = System(
    name="tcar",
    number=10,
    title="TCAR (TCAndon-Router)",
    level="request",
    claim=Claim(
        "A 4B reasoning router over agent cards reaches 91.25 % on CLINC150, a hit being a label among up to three "
        "predicted agents.",
        "repository",
    ),
    parts=_agents.parts("embedding"),
    novelty="policy",
    build=_build,
    deviations=(
        "No language model reads the cards: words, embeddings, and classifiers where utterances are known.",
        "A conformal set with stated coverage instead of one to three generated ids; the reason is the rule that "
        "applied, in a sentence.",
        "No refining agent: merging answers belongs to plans.",
        "Accuracy is that of the first expert alone, not of any of three.",
    ),
    limits=(
        "Newcomers reach .80 to .84 of the accuracy that their utterances would give; on their texts alone the card's "
        "words and embedding find a few more, at the cost of the experts that were there before.",
        "The set's coverage is promised for experts with utterances; newcomers were not calibrated on.",
        "The cards were written from utterances of the same intents, which flatters every method that reads them.",
        "Every fifth text of a newcomer goes to another expert where older ones cede 3 % of theirs; how many depends "
        "on which experts are new.",
    ),
    code="github.com/Tencent/TCAndon-Router",
    table="clinc150",
    measure=_agents.measure,
)
