"""ConCISE, its early stop: once an answer is there and the model is sure of it, reasoning ends.

Source: the abstract and third parties' notes; no code was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from turnout import registry
from turnout.systems._modes import MIDDLE, Answers, Rows, Scene, Show, Variant, cells, measured, one
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["CONCISE"]

DIRECT, STEPS = f"{MIDDLE}:direct", f"{MIDDLE}:cot"


def _mode(cuts: tuple[tuple[float, ...], ...] | None) -> Any:
    return registry.create(
        "mode", "threshold_modes", statistics=("stop confidence",), modes=("stop", "reason on"), cuts=cuts
    )


def _build() -> Mapping[str, Any]:
    return {"mode": _mode(None)}


def _play(answers: Answers, train_I: Rows, seed: int) -> Scene:  # noqa: ARG001 - nothing is learned
    sure_N = answers.certainty_NE[:, answers.at(DIRECT)]
    return Scene(sure_N[:, None], [one(answers, DIRECT), one(answers, STEPS, beside=(DIRECT,))])


def _measure(system: System, run: Run) -> Figures:
    published = Variant(_mode(((0.5,),)), (0,), (0, 1))
    return measured(
        system,
        run,
        Show((DIRECT, STEPS), _play, variants={"published cut (.5)": published, **cells(_mode(None), (2,))}),
    )


CONCISE = System(
    name="concise",
    number=27,
    title="ConCISE (early stop)",
    level="request",
    claim=Claim(
        "Training on chains cut short by injected confidence and early stopping halves their length at about equal "
        "accuracy.",
        "the abstract, with third parties' notes for the stop rule",
    ),
    parts=("mode:threshold_modes",),
    novelty="signal",
    build=_build,
    deviations=(
        "Only the stop rule is here, nothing is trained: a model answers at once, and reasons step by step where the "
        "mean probability of that answer's tokens is below the cut.",
        "There are two checkpoints, before and after the whole chain; the paper probes after every step.",
    ),
    limits=(
        "Doubt mostly means that the question is out of the model's reach, so reasoning on buys nothing: on this log "
        "the fitted cut does no better than going on blindly as often, and no better than never.",
    ),
    table="local_pool",
    measure=_measure,
)
