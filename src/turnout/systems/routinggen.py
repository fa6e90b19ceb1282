"""RoutingGen: a difficulty label chooses between a short prompt and step-by-step reasoning.

Source: the authors' repository, `routing/` and `generate/methods/RoutingGen/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from turnout import registry
from turnout.modes import hindsight
from turnout.systems._modes import MIDDLE, Answers, Rows, Scene, Show, cells, measured, one, predicted
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["ROUTINGGEN"]

DIRECT, STEPS = f"{MIDDLE}:direct", f"{MIDDLE}:cot"


def _build() -> Mapping[str, Any]:
    return {
        "mode": registry.create("mode", "threshold_modes", statistics=("easy",), modes=("direct", "step by step")),
        "difficulty": registry.create("estimator", "ridge", on=("embedding", "format")),
    }


def _play(answers: Answers, train_I: Rows, seed: int) -> Scene:  # noqa: ARG001 - the classifier has no chance in it
    label_N = hindsight(answers.score_NE, np.broadcast_to([0.0, 1.0], answers.score_NE.shape))
    easy_N1 = (label_N == 0).astype(float)[:, None]
    return Scene(predicted(answers, easy_N1, train_I), [one(answers, DIRECT), one(answers, STEPS)])


def _measure(system: System, run: Run) -> Figures:
    return measured(system, run, Show((DIRECT, STEPS), _play, variants=cells(system.build()["mode"], (2,))))


ROUTINGGEN = System(
    name="routinggen",
    number=97,
    title="RoutingGen",
    level="request",
    claim=Claim(
        "Routing easy tasks to a short prompt saves 46.37 % of the tokens on average over three models and six code "
        "benchmarks, at state-of-the-art accuracy in most settings.",
        "the abstract",
    ),
    parts=("mode:threshold_modes", "estimator:ridge", "signal:embedding", "signal:format"),
    novelty="signal",
    build=_build,
    deviations=(
        "Difficulty is learned from hindsight (easy: the short prompt was as good), by ridge regression on the prompt; "
        "the authors ask an 8B model for a label.",
        "Their classifier is shown the canonical solution on MBPP; this one sees the prompt alone.",
        "Reasoning questions, not code: small models solve next to no programming task.",
    ),
    limits=(
        "218 queries of 35 kinds are too few to learn which prompt a kind needs: it loses .02 to blind choice here.",
    ),
    code="github.com/Guai001/RoutingGen",
    table="local_pool",
    measure=_measure,
)
