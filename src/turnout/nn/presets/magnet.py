"""MAGNET's entropy rule: first cover all experts, then, triggered by the routing itself, be sure.

Source: Dai, Fang, Cai, "Modality-Guided Mixture of Graph Experts with Entropy-Triggered Routing for Multimodal
Recommendation", arXiv 2602.20723, 2026, read as an abstract; no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained
    from turnout.nn.plan import Plan

__all__ = ["MAGNET"]

WEIGHT, UNTIL = 1e-2, 0.7


def _build() -> Mapping[str, Any]:
    from turnout.nn import FFN, EntropyLoss, LinearGate, RoutedLayer, TopK

    turning = EntropyLoss(WEIGHT, until=UNTIL)
    return {"layer": RoutedLayer(LinearGate(64, 16), TopK(2), FFN(16, 64, 32), balancers=[turning])}


def _entropy(found: Trained) -> Mapping[str, float]:
    """Relative entropy of a token's gate and of the mean gate, over layers."""
    plans: Sequence[Plan] = [plan for plan in found.plans if plan is not None]
    from turnout.nn._entropy import tsallis

    scores = [plan.logits_TE.softmax(-1) for plan in plans]
    count = max(1, len(scores))
    return {
        "entropy of a token's gate": sum(tsallis(p, 1.0, relative=True).mean().item() for p in scores) / count,
        "entropy of the mean gate": sum(tsallis(p.mean(0), 1.0, relative=True).item() for p in scores) / count,
    }


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn import EntropyLoss, TopK
    from turnout.nn.beds import chars

    bed, half = bed_of(run), chars.STEPS // 2
    turning = chars.routed(lambda: TopK(2), lambda: [EntropyLoss(WEIGHT, until=UNTIL, until_step=half)])
    confident = chars.routed(lambda: TopK(2), lambda: [EntropyLoss(WEIGHT)])
    covering = chars.routed(lambda: TopK(2), lambda: [EntropyLoss(WEIGHT, sign=-1, of="mean")])
    return on_chars(
        system,
        run,
        bed,
        {
            "coverage, then confidence": trained(bed, turning, _entropy),
            "confidence from the start": trained(bed, confident, _entropy),
            "coverage throughout": trained(bed, covering, _entropy),
            "top-2 + switch": reference(bed, "top-2 + switch", _entropy),
            "top-2, no balancer": reference(bed, "top-2, no balancer", _entropy),
        },
        against="confidence from the start",
        says=f"entropy of weight {WEIGHT}; the turn at a relative entropy of {UNTIL} or half of the steps",
    )


MAGNET = System(
    name="magnet",
    number=9,
    title="MAGNET (entropy rule)",
    level="in-model",
    claim=Claim(
        "Weighing routing entropy in two stages, coverage first and specialisation after a turn that the entropy "
        "itself triggers, over experts with modality roles, consistently improves on strong multimodal recommenders.",
        "arXiv 2602.20723, abstract",
    ),
    parts=("gate:linear_gate", "selector:top_k", "experts:ffn", "balancer:entropy_loss"),
    novelty="balancer",
    build=_build,
    measure=_measure,
    table="characters",
    deviations=(
        "Only the entropy rule: neither graphs, nor modalities, nor experts with roles.",
        "Weight, trigger and latest turn are our guesses, the abstract gives none.",
    ),
    limits=(
        "After the turn nothing holds the load: what coverage spread gathers again (9 of 32 experts idle here, none "
        "where coverage is pushed throughout, at the same loss).",
        "The trigger reads the gate alone; a gate that is sure for a bad reason turns it too.",
    ),
)
