"""ERC: a loss that couples each expert with its own router row.

Source: Lv et al., "Coupling Experts and Routers in Mixture-of-Experts via an Auxiliary Loss", arXiv 2512.23447, 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained

__all__ = ["EXPERT_COUPLING"]


def _build() -> Mapping[str, Any]:
    from turnout.nn import FFN, ExpertCoupling, LinearGate, RoutedLayer, SwitchLoss, TopK

    coupled = [ExpertCoupling(1.0, alpha=1.0), SwitchLoss(0.01)]
    return {"layer": RoutedLayer(LinearGate(64, 16), TopK(2), FFN(16, 64, 32), balancers=coupled)}


def _coupling(found: Trained) -> Mapping[str, float]:
    """How far rows and experts are coupled, mean over layers."""
    import torch

    from turnout.nn import ExpertCoupling, RoutedLayer, RoutingContext
    from turnout.nn.base import Routing

    loss, shares, values = ExpertCoupling(1.0).eval(), [], []
    for block, plan in zip(found.model.blocks, found.plans, strict=True):
        if not isinstance(block, RoutedLayer) or plan is None:
            continue
        routing = Routing(plan.logits_TE, plan, RoutingContext(), block.gate, block.experts)
        answers_EE, own_E = loss.answers(routing), torch.arange(plan.experts)
        shares.append((answers_EE.argmax(1).cpu() == own_E).float().mean().item())
        values.append(loss(routing).item())
    count = max(1, len(shares))
    return {"rows answered most by their own expert": sum(shares) / count, "ERC loss": sum(values) / count}


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn import ExpertCoupling, SwitchLoss, TopK
    from turnout.nn.beds.chars import routed

    bed = bed_of(run)
    coupled = routed(lambda: TopK(2), lambda: [ExpertCoupling(1.0, alpha=1.0), SwitchLoss(0.01)])
    return on_chars(
        system,
        run,
        bed,
        {
            "ERC + switch": trained(bed, coupled, _coupling),
            "top-2 + switch": reference(bed, "top-2 + switch", _coupling),
            "top-2, no balancer": reference(bed, "top-2, no balancer", _coupling),
        },
        against="top-2 + switch",
        says="ERC of weight 1 with α = 1, the switch loss of weight 0.01 beside it",
    )


EXPERT_COUPLING = System(
    name="expert_coupling",
    number=72,
    title="ERC loss",
    level="in-model",
    claim=Claim(
        "Coupling routers and experts by an auxiliary loss on n² activations, whatever the batch, makes pre-trained "
        "models of 3 to 15 B parameters better: 49.1 against 47.2 on average at 15 B, for .18 to .82 % more "
        "computation.",
        "abstract; figures from a summary of arXiv 2512.23447",
    ),
    parts=("gate:linear_gate", "selector:top_k", "experts:ffn", "balancer:expert_coupling", "balancer:switch_loss"),
    novelty="balancer",
    build=_build,
    measure=_measure,
    table="characters",
    deviations=(
        "Experts without a gate projection, so their first projection is coupled.",
        "The loss is the mean over pairs i ≠ j, in the paper over n² (7 % less with 16 experts).",
        "Loss on the next character instead of downstream accuracy.",
    ),
    limits=(
        "It costs E² products of a row with an expert's first projection each step, whatever the batch.",
        "Coupling is what it enforces; that coupled experts predict better is not what it measures.",
    ),
)
