"""OmniMoE: experts of a single neuron, found by a product of two small routers, beside a shared network.

Source: Shi et al., "OmniMoE: An Efficient MoE by Orchestrating Atomic Experts at Scale", arXiv 2602.05711, 2026; code
flash-algo/omni-moe. He, "Mixture of A Million Experts" (PEER), 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from turnout.nn.presets._chars import bed_of, first_layer, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["OMNI_MOE"]

ATOMS, CHOSEN, SHARED = 1024, 32, 32


def _factory(size: Any) -> Sequence[Any]:
    from turnout.nn import ProductKeyGate, RankOne, RoutedLayer, TopK
    from turnout.nn.beds.model import DenseBlock

    def layer() -> Any:
        gate, pool = ProductKeyGate(size.width, ATOMS), RankOne(ATOMS, size.width)
        return RoutedLayer(gate, TopK(CHOSEN, normalize=False), pool, shared=DenseBlock(size.width, SHARED))

    return [layer() for _ in range(size.layers)]


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)
    return on_chars(
        system,
        run,
        bed,
        {
            "omnimoe": trained(bed, _factory),
            "top-2 + switch": reference(bed, "top-2 + switch"),
            "dense": reference(bed, "dense"),
        },
        against="top-2 + switch",
        says=f"{ATOMS} atomic experts, {CHOSEN} of them a token, and {SHARED} shared hidden units: as many active "
        "hidden units as two of 16 experts of 32",
    )


OMNI_MOE = System(
    name="omni_moe",
    number=88,
    title="OmniMoE",
    level="in-model",
    claim=Claim(
        "Atomic experts at 1.7 B active parameters reach 50.9 % zero-shot accuracy over seven benchmarks, above coarse "
        "and fine-grained mixtures, and run 10.9 times as fast as PEER.",
        "arXiv 2602.05711, abstract",
    ),
    parts=("gate:product_key_gate", "selector:top_k", "experts:rank_one"),
    novelty="experts",
    build=first_layer(_factory),
    measure=_measure,
    table="characters",
    deviations=(
        "Loss at equal active hidden units only; the authors' speed-up is of GPU kernels.",
        "Atomic experts with a GELU and a plain GELU block as the shared network; theirs are a SiLU and a SwiGLU.",
    ),
    limits=(
        "No balancer: a seventh of the atomic experts is dead here.",
        "Reading vectors costs more than multiplying by them, so small experts are slow without kernels.",
    ),
    code="github.com/flash-algo/omni-moe",
)
