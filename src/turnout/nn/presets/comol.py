"""CoMoL: experts that are small cores between two shared matrices, mixed before they run.

Source: Cao et al., "CoMoL: Efficient Mixture of LoRA Experts via Dynamic Core Space Merging", arXiv 2603.00573, 2026.
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

__all__ = ["COMOL"]

EXPERTS, RANK, SCALE = 8, 8, 4.0


def _layer(width: int, out: int) -> RoutedLayer:
    from turnout.nn import CoreGate, CoreLoRA, Fused, RoutedLayer, Soft

    pool = CoreLoRA(EXPERTS, width, out, rank=RANK, alpha=SCALE * RANK)
    return RoutedLayer(CoreGate(pool), Soft(), pool, combiner=Fused())


def _build() -> Mapping[str, Any]:
    return {"layer": _layer(64, 64)}


def _cores(seed: int, data: Path | None) -> Mapping[str, float]:
    from turnout.nn.beds.mixtures import figures, train

    model = train(data, seed, lambda linear, _: _layer(linear.in_features, linear.out_features))
    return figures(data, model)


def _apart(seed: int, data: Path | None) -> Mapping[str, float]:
    from turnout.nn.beds.mixtures import figures, loras, train

    return figures(data, train(data, seed, loras(EXPERTS, RANK, k=None, balance=False)))


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn.beds.mixtures import baseline

    return compare(
        system,
        run,
        {
            "comol": partial(_cores, data=run.data),
            "eight LoRA, soft": partial(_apart, data=run.data),
            "one LoRA of rank 8": lambda seed: baseline("one LoRA of rank 8", seed, run.data),
        },
        metric="loss",
        against="eight LoRA, soft",
        table="ciphers",
        protocol="eight tasks at once without labels, 120 steps of 16 windows, rank 8; nats per character",
    )


COMOL = System(
    name="comol",
    number=99,
    title="CoMoL",
    level="in-model",
    claim=Claim(
        "Routing and merging in the core space of a shared LoRA consistently outperforms existing mixtures of LoRA at "
        "a parameter efficiency comparable to one LoRA's.",
        "arXiv 2603.00573, abstract",
    ),
    parts=("gate:core_gate", "selector:soft", "experts:core_lora", "combiner:fused"),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="ciphers",
    deviations=(
        "Cores start at the identity with a little noise, and no balancing loss is used on either side: neither is in "
        "the abstract.",
        "All cores are mixed for every token; the abstract speaks of cores that routing selects.",
    ),
    limits=("All experts read and write the same few directions.",),
)
