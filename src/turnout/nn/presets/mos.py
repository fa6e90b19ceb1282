"""MoS: every adapter of a network is picked from one store of shards.

Source: Wang et al., "MoS: Unleashing Parameter Efficiency of Low-Rank Adaptation with Mixture of Shards", arXiv
2410.00938, ICLR 2025; code Forence1999/MoS, of which a variant that shares within a layer was read.
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

__all__ = ["MOS"]

RANK, LENGTH, SCALE = 8, 16, 4.0
EQUAL = 2  # rank of a LoRA with as many numbers as the store and the private shards
SHARED, PRIVATE = 80, 4


def _layer(width: int, out: int, store: Any, private: int, seed: int) -> RoutedLayer:
    from turnout.nn import Fused, LinearGate, RoutedLayer, Shards, TopK

    pool = Shards(width, out, store=store, rank=RANK, alpha=SCALE * RANK, private=private, seed=seed)
    return RoutedLayer(LinearGate(width, 1), TopK(1), pool, combiner=Fused())


def _build() -> Mapping[str, Any]:
    from turnout.nn import Shards

    store = Shards.store(SHARED, LENGTH)
    return {"layers": [_layer(64, 64, store, PRIVATE, seed) for seed in range(2)]}


def _sharded(private: int, seed: int, data: Path | None) -> Mapping[str, float]:
    import torch

    from turnout.nn import Shards
    from turnout.nn.beds.mixtures import train

    layers = 6
    torch.manual_seed(seed)
    store = Shards.store(SHARED + layers * (PRIVATE - private), LENGTH)
    made: list[int] = []

    def factory(linear: Any, _: str) -> RoutedLayer:
        made.append(1)
        return _layer(linear.in_features, linear.out_features, store, private, 10 * seed + len(made))

    return _shown(train(data, seed, factory), data)


def _plain(rank: int, seed: int, data: Path | None) -> Mapping[str, float]:
    from turnout.nn.beds.mixtures import loras, train

    return _shown(train(data, seed, loras(1, rank, k=1, scale=SCALE)), data)


def _shown(model: Any, data: Path | None) -> Mapping[str, float]:
    """Loss, and the numbers that experts learn: a gate over one expert does nothing."""
    from turnout.nn.beds.mixtures import figures

    numbers = sum(p.numel() for name, p in model.named_parameters() if p.requires_grad and ".gate." not in name)
    return {"loss": figures(data, model)["loss"], "trained numbers": float(numbers)}


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {
            "mos": partial(_sharded, PRIVATE, data=run.data),
            "LoRA of equal parameters": partial(_plain, EQUAL, data=run.data),
            "mos, no private shards": partial(_sharded, 0, data=run.data),
            "LoRA of rank 8": partial(_plain, RANK, data=run.data),
        },
        metric="loss",
        against="LoRA of equal parameters",
        table="ciphers",
        protocol="six projections, eight tasks at once, 120 steps of 16 windows; rank 8 out of shards of 16 against "
        "LoRA of rank 2 with as many numbers; nats per character",
    )


MOS = System(
    name="mos",
    number=113,
    title="MoS (mixture of shards)",
    level="in-model",
    claim=Claim(
        "About eight times fewer parameters than LoRA in a standard setting, by sharing shards.",
        "arXiv 2410.00938, abstract",
    ),
    parts=("experts:shards", "combiner:fused"),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="ciphers",
    deviations=("Picks are drawn once, with replacement; shards of A and B have one length in all layers.",),
    limits=("Routing is fixed: the input has no say.",),
    code="github.com/Forence1999/MoS",
)
