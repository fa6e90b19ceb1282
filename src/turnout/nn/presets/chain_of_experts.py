"""Chain-of-Experts: a layer runs twice over the same experts, with a gate of its own each time.

Source: Wang et al., "Chain-of-Experts: Unlocking the Communication Power of Mixture-of-Experts Models", 2025; code
ZihanWang314/CoE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from turnout.nn.presets._chars import bed_of, on_chars, trained
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["CHAIN_OF_EXPERTS"]

ITERATIONS, EACH = 2, 2


def _factory(size: Any) -> Sequence[Any]:
    from turnout.nn import Chain, LinearGate, RoutedLayer, SwitchLoss, TopK
    from turnout.nn.beds.chars import EXPERTS, ffn

    def chain() -> Any:
        pool = ffn(size)
        return Chain(
            [
                RoutedLayer(LinearGate(size.width, EXPERTS), TopK(EACH), pool, balancers=[SwitchLoss(0.01)])
                for _ in range(ITERATIONS)
            ]
        )

    return [chain() for _ in range(size.layers)]


def _wide(size: Any) -> Sequence[Any]:
    from turnout.nn import SwitchLoss, TopK
    from turnout.nn.beds.chars import routed

    return routed(lambda: TopK(ITERATIONS * EACH), lambda: [SwitchLoss(0.01)])(size)


def _build() -> Mapping[str, Any]:
    from turnout.nn.beds.model import Size

    return {"chain": _factory(Size())[0]}


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)
    return on_chars(
        system,
        run,
        bed,
        {
            "chain of 2 × top-2": trained(bed, _factory),
            "top-4 + switch": trained(bed, _wide),
        },
        against="top-4 + switch",
        says="figures of routing are those of the last iteration",
    )


CHAIN_OF_EXPERTS = System(
    name="chain_of_experts",
    number=41,
    title="Chain-of-Experts",
    level="in-model",
    claim=Claim(
        "At equal compute, two iterations of half as many experts lower validation loss in math reasoning from 1.20 to "
        "1.12.",
        "repository README; arXiv 2506.18945",
    ),
    parts=("gate:linear_gate", "selector:top_k", "balancer:switch_loss", "experts:ffn"),
    novelty="combiner",
    build=_build,
    measure=_measure,
    table="characters",
    deviations=(
        "Normalised top-k of 16 experts with the switch loss over the batch; the authors build on DeepSeek-V2: 63 "
        "routed experts and a shared one that runs in every iteration, weights not normalised, a loss of 1e-3 per "
        "sequence.",
        "The block keeps its own residual, so that x + y₁ + y₂ goes on; with the authors' inner residual alone the "
        "normalised input takes the place of x.",
    ),
    limits=("Iterations run one after the other, so equal compute is not equal time.",),
    code="github.com/ZihanWang314/CoE",
)
