"""Mixture-of-Supernets: every architecture's weights are its own mixture of shared ones.

Source: Jawahar et al., "Mixture-of-Supernets: Improving Weight-Sharing Supernet Training with Architecture-Routed
Mixture-of-Experts", ACL Findings 2024; code UBC-NLP/MoS.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MIXTURE_OF_SUPERNETS"]

WIDTHS = (4, 8, 16, 32)  # hidden units of the four architectures
EXPERTS, STEPS, NOISE = 2, 600, 0.4


def _build() -> Mapping[str, Any]:
    from turnout.nn import FFN, RoutedLayer, Soft, TaskTableGate, WeightSpace

    experts = FFN(EXPERTS, 64, WIDTHS[-1], activation="relu", gated=False)
    return {"layer": RoutedLayer(TaskTableGate(len(WIDTHS), EXPERTS), Soft(), experts, combiner=WeightSpace("task"))}


def _supernet(experts: int, widths: tuple[int, ...], seed: int) -> Mapping[str, float]:
    """Train one network for all `widths`, each the first hidden units of its own mixture of `experts` networks.

    With one expert this is the plain weight-sharing supernet, with one width a network trained alone.
    """
    import torch
    from torch import nn
    from torch.nn import functional as F

    from turnout.nn import FFN, RoutingContext, Soft, TaskTableGate
    from turnout.nn.beds.digits import CLASSES, accuracy, descend, digits, noisy

    found = digits(seed)
    torch.manual_seed(seed)
    pool = FFN(experts, 64, max(WIDTHS), activation="relu", gated=False)
    gate, select, head = TaskTableGate(len(WIDTHS), experts), Soft(), nn.Linear(64, CLASSES)
    model = nn.ModuleList([pool, gate, select, head])
    generator = torch.Generator().manual_seed(seed)

    def scores(x_BD: Tensor, width: int) -> Tensor:
        logits_1E, _ = gate(x_BD[:1], RoutingContext(task_T=torch.tensor([WIDTHS.index(width)])))
        mixed: Any = pool.merged(select(logits_1E).weights_TE)
        hidden_BH = F.relu(x_BD @ mixed.up_proj[0, :width].T)
        out_BC: Tensor = head(x_BD + hidden_BH @ mixed.down_proj[0, :, :width].T)
        return out_BC

    def loss(index_B: Tensor) -> Tensor:
        width = widths[int(torch.randint(len(widths), (1,), generator=generator))]
        return F.cross_entropy(scores(noisy(found.train_ND[index_B], NOISE, generator), width), found.train_N[index_B])

    descend(model, loss, len(found.train_N), seed=seed, steps=STEPS)
    seen_ND = noisy(found.test_ND.repeat(4, 1), NOISE, torch.Generator().manual_seed(1000 + seed))
    with torch.no_grad():
        each = {f"{w} units": accuracy(scores(seen_ND, w), found.test_N.repeat(4)) for w in widths}
    return {"accuracy": sum(each.values()) / len(each), **each}


def _alone(seed: int) -> Mapping[str, float]:
    """Each width trained by itself, each as long as the whole supernet."""
    each = {f"{width} units": _supernet(1, (width,), seed)["accuracy"] for width in WIDTHS}
    return {"accuracy": sum(each.values()) / len(each), **each}


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {
            "mixture of supernets": partial(_supernet, EXPERTS, WIDTHS),
            "plain supernet": partial(_supernet, 1, WIDTHS),
            "each trained alone": _alone,
        },
        metric="accuracy",
        against="plain supernet",
        better="higher",
        table="noisy digits",
        protocol=f"mean over four widths of one hidden layer; noise of σ = {NOISE}; {STEPS} steps, {EXPERTS} sets of "
        "weights",
    )


MIXTURE_OF_SUPERNETS = System(
    name="mixture_of_supernets",
    number=116,
    title="Mixture-of-Supernets",
    level="in-model",
    claim=Claim(
        "Weights mixed per architecture minimise the retraining that the gap between a supernet's sub-networks and "
        "networks trained alone calls for; a better trade-off of latency and BLEU than HAT.",
        "abstract",
    ),
    parts=("gate:task_table_gate", "selector:soft", "experts:ffn", "combiner:weight_space"),
    novelty="combiner",
    build=_build,
    measure=_measure,
    table="noisy digits",
    deviations=(
        "A table with a row for each architecture; the authors' gate reads an encoding, so that it serves unseen ones.",
        "Layer-wise mixing alone; the authors also mix neuron by neuron.",
    ),
    limits=("Training holds every expert's weights; one mixture per architecture is kept for use.",),
    code="github.com/UBC-NLP/MoS",
)
