"""ReXMoE: neighbouring layers share their experts, and a schedule opens the neighbours' experts during training.

Source: Tan et al., "ReXMoE: Reusing Experts with Minimal Overhead in Mixture-of-Experts", 2025; no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turnout.nn.presets._chars import bed_of, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["REXMOE"]


def _factory(size: Any, progressive: bool = True) -> Sequence[Any]:
    from turnout.nn import ExpertPool, LinearGate, MaskSchedule, RoutedLayer, SwitchLoss, TopK
    from turnout.nn.beds import chars

    pool = ExpertPool(chars.ffn(size, size.layers * chars.EXPERTS))

    def selector(layer: int) -> Any:
        if not progressive:
            return TopK(chars.CHOSEN)
        start, end = chars.STEPS // 5, chars.STEPS * 3 // 5
        return MaskSchedule(
            TopK(chars.CHOSEN), chars.EXPERTS, first=layer * chars.EXPERTS, start=start, end=max(end, start)
        )

    return [
        RoutedLayer(LinearGate(size.width, pool.experts), selector(layer), pool, balancers=[SwitchLoss(0.01)])
        for layer in range(size.layers)
    ]


def _build() -> Mapping[str, Any]:
    from turnout.nn.beds.model import Size

    return {"layers": tuple(_factory(Size()))}


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)
    return on_chars(
        system,
        run,
        bed,
        {
            "rexmoe": trained(bed, _factory),
            "reuse without a schedule": trained(bed, lambda size: _factory(size, progressive=False)),
            "top-2 + switch": reference(bed, "top-2 + switch"),
        },
        against="top-2 + switch",
        says="two layers share 32 experts where the baseline has 16 in each",
    )


REXMOE = System(
    name="rexmoe",
    number=18,
    title="ReXMoE",
    level="in-model",
    claim=Claim(
        "Sharing experts between four neighbouring layers, opened progressively, raises average accuracy from 49.15 to "
        "50.23 at 2.3 B parameters (49.65 with two layers).",
        "table 2",
    ),
    parts=(
        "experts:expert_pool",
        "selector:mask_schedule",
        "selector:top_k",
        "gate:linear_gate",
        "balancer:switch_loss",
        "experts:ffn",
    ),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="characters",
    deviations=(
        "The neighbour's experts open from one fifth to three fifths of training (steps 10 k and 30 k in the paper, "
        "secondary source), own ones first and then in order; the paper draws which experts are masked at random, "
        "anew in each iteration.",
        "Groups of two layers.",
    ),
    limits=("A shared expert must fit inputs of two layers; groups of 16 layers collapse (secondary source).",),
)
