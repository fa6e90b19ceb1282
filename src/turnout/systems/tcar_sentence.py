"""TCAR with a sentence encoder that reads cards and requests, instead of the shipped static table.

Source: as `tcar`; the encoder is all-MiniLM-L6-v2 (Reimers and Gurevych, 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems import _agents
from turnout.systems.base import Claim, System

__all__ = ["TCAR_SENTENCE"]


def _build() -> Mapping[str, Any]:
    return _agents.build(registry.create("signal", "sentence"), cede=0.045)


TCAR_SENTENCE = System(
    name="tcar_sentence",
    number=10,
    title="TCAR by a sentence encoder",
    level="request",
    claim=Claim(
        "A 4B reasoning router over agent cards reaches 91.25 % on CLINC150, a hit being a label among up to three "
        "predicted agents.",
        "repository",
    ),
    parts=_agents.parts("sentence"),
    novelty="signal",
    build=_build,
    deviations=(
        "As `tcar`, with all-MiniLM-L6-v2 (22M parameters, run by numpy) in the place of a 4B language model.",
        "The share that older experts cede (4.5 %) was chosen on other draws of hidden intents (seeds 0 to 5), by a "
        "fifth of the training split that fitted nothing; with 3.5 % a sixth draw had .89 of the newcomers' accuracy.",
    ),
    limits=(
        "Needs the weights: `turnout models pull all-minilm-l6-v2`. An utterance takes some 5 ms on one core.",
        "The set's coverage is promised for experts with utterances; newcomers were not calibrated on.",
        "The cards were written from utterances of the same intents, which flatters every method that reads them.",
    ),
    code="github.com/Tencent/TCAndon-Router",
    table="clinc150",
    measure=_agents.measure,
)
