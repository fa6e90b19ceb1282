"""Expert pyramid tuning: adapters that share a subspace and differ in the scale they write at.

Source: "Expert Pyramid Tuning: Efficient Parameter Fine-Tuning for Expertise-Driven Task Allocation", arXiv 2603.12577,
CVPR 2026, read as a summary; the authors' code is anonymous and was not reached.
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
        "fewer trained parameters: 87.0 on GLUE with T5-base and .41 M numbers a task, against 86.2 with .81 M.",
        "a summary of arXiv 2603.12577",
    ),
    parts=("gate:task_table_gate", "selector:soft", "experts:pyramid", "combiner:fused"),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="ciphers",
    deviations=(
        "An expert here is a matrix of its own, coarse outputs repeated; there it is a deconvolution kernel of size s "
        "and stride s over one shared product B A, zero at first (as a matrix: a Kronecker product), sliced to each "
        "layer's size and weighed by d/T.",
        "Four scales (1, 2, 4, 8), all mixed under a table of tasks; there eight experts (2, 2, 4, 4, 6, 6, 8, 8), "
        "top-k per token at a temperature of .05, and a contrastive loss of .1 on task embeddings.",
    ),
    limits=("Needs to know the task of every sequence in this form.",),
)
