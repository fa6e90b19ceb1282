"""Dynamic MoE: as many experts as it takes for their probabilities to pass a threshold.

Source: Huang et al., "Harder Tasks Need More Experts: Dynamic Routing in MoE Models", arXiv 2403.07652, 2024; code
ZhenweiAn/Dynamic_MoE (inference only).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, first_layer, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained

__all__ = ["TOP_P"]


def _factory(size: Any) -> Sequence[Any]:
    from turnout.nn import EntropyLoss, SwitchLoss, TopP
    from turnout.nn.beds.chars import routed

    return routed(lambda: TopP(0.4), lambda: [SwitchLoss(1e-2), EntropyLoss(1e-4)])(size)


def _harder(found: Trained) -> Mapping[str, float]:
    """Whether doubtful characters get more experts: rank correlation with the model's own uncertainty."""
    import torch
    from scipy.stats import spearmanr

    experts_TL = torch.stack([trace.mask_TK.sum(-1) for trace in found.traces], dim=1).double()
    experts_T, loss_T = experts_TL.mean(1).numpy(), found.loss_BS.flatten().double().cpu().numpy()
    varies = float(experts_T.std()) > 0
    return {"experts with loss (rank corr.)": float(spearmanr(experts_T, loss_T).statistic) if varies else 0.0}


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)
    return on_chars(
        system,
        run,
        bed,
        {
            "top-p": trained(bed, _factory, _harder),
            "top-2 + switch": reference(bed, "top-2 + switch", _harder),
            "dense": reference(bed, "dense", lambda _: {"experts with loss (rank corr.)": 0.0}),
        },
        against="top-2 + switch",
        within={"experts a token": 0.0},
        says="the claim is a lower loss with fewer experts a token",
    )


TOP_P = System(
    name="top_p",
    number=4,
    title="Dynamic MoE (top-p routing)",
    level="in-model",
    claim=Claim(
        "Top-p routing gains .7 % on average over top-2 routing with under 90 % of its activated parameters.",
        "arXiv 2403.07652, abstract",
    ),
    parts=("selector:top_p", "balancer:entropy_loss", "balancer:switch_loss", "gate:linear_gate", "experts:ffn"),
    novelty="selector",
    build=first_layer(_factory),
    measure=_measure,
    table="characters",
    deviations=(
        "Entropy coefficient 1e-4 and switch loss 1e-2 are guesses, the public code does not train; its every second "
        "layer is routed.",
        "Two hundred steps; the paper's experts a token fall below 2 only after some 60 B tokens (README).",
    ),
    limits=("Before the gate is peaked it uses more experts than top-2, so short training pays more, not less.",),
    code="github.com/ZhenweiAn/Dynamic_MoE",
)
