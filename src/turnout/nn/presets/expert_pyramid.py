"""Expert pyramid tuning: adapters that share a subspace and differ in the scale they write at.

Source: Expert Pyramid Tuning, 2025; no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn import RoutedLayer

__all__ = ["EXPERT_PYRAMID"]

SCALES, RANK, SCALE = (1, 2, 4, 8), 8, 4.0
TASKS = 8


def _layer(width: int, out: int) -> RoutedLayer:
    from turnout.nn import Fused, Pyramid, RoutedLayer, Soft, TaskTableGate

    pool = Pyramid(width, out, scales=SCALES, rank=RANK, alpha=SCALE * RANK)
    return RoutedLayer(TaskTableGate(TASKS, len(SCALES)), Soft(), pool, combiner=Fused())


def _loras(width: int, out: int) -> RoutedLayer:
    """Four LoRA of rank 3 under the same gate: a little more than as many numbers."""
    from turnout.nn import Fused, LoRA, RoutedLayer, Soft, TaskTableGate

    pool = LoRA(len(SCALES), width, out, rank=3, alpha=SCALE * 3)
    return RoutedLayer(TaskTableGate(TASKS, len(SCALES)), Soft(), pool, combiner=Fused())


def _build() -> Mapping[str, Any]:
    return {"layer": _layer(64, 64)}


def _measured(kind: str, seed: int, data: Path | None) -> Mapping[str, float]:
    from turnout.nn.beds.mixtures import figures, train

    make = _layer if kind == "pyramid" else _loras
    found = figures(data, train(data, seed, lambda linear, _: make(linear.in_features, linear.out_features)))
    return {"loss": found["loss"], "trained numbers": found["trained numbers"]}


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {
            "pyramid": partial(_measured, "pyramid", data=run.data),
            "four LoRA of rank 3": partial(_measured, "loras", data=run.data),
        },
        metric="loss",
        against="four LoRA of rank 3",
        table="ciphers",
        protocol="eight tasks at once under a gate that knows the task, soft, 120 steps of 16 windows; "
        "nats per character",
    )


EXPERT_PYRAMID = System(
    name="expert_pyramid",
    number=50,
    title="Expert Pyramid Tuning",
    level="in-model",
    claim=Claim(
        "Experts that rebuild features from one low-dimensional subspace at several scales beat mixtures of LoRA with "
        "fewer trained parameters.",
        "abstract",
    ),
    parts=("gate:task_table_gate", "selector:soft", "experts:pyramid", "combiner:fused"),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="ciphers",
    deviations=("Coarse outputs are repeated, where the paper learns a deconvolution (details are a guess).",),
    limits=("Needs to know the task of every sequence in this form.",),
)
