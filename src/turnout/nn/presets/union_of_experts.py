"""Union-of-Experts: a dense network cut into slices that add up to it, and a gate that leaves some out.

Source: Yang et al., "Union of Experts: Adapting Hierarchical Routing to Equivalently Decomposed Transformer", arXiv
2503.02495, 2025; code YujiaoYang-work/UoE.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor, nn

    from turnout.nn.base import Selector

__all__ = ["UNION_OF_EXPERTS"]

EXPERTS, CHOSEN, HIDDEN, NOISE = 8, 2, 64, 0.3
STEPS, TUNING = 600, 300


def _build() -> Mapping[str, Any]:
    from turnout.nn import LinearGate, RoutedLayer, Slices, TopK

    pool = Slices(EXPERTS, 64, HIDDEN, activation="relu", gated=False)
    return {"layer": RoutedLayer(LinearGate(64, EXPERTS), TopK(CHOSEN), pool)}


def _dense(seed: int) -> tuple[nn.Linear, nn.Linear, nn.Linear, Any]:
    """A dense block and its head, trained on noisy digits."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from turnout.nn.beds.digits import CLASSES, descend, digits, noisy

    found = digits(seed)
    torch.manual_seed(seed)
    up, down, head = nn.Linear(64, HIDDEN, bias=False), nn.Linear(HIDDEN, 64, bias=False), nn.Linear(64, CLASSES)
    generator = torch.Generator().manual_seed(seed)

    def loss(index_B: Tensor) -> Tensor:
        x_BD = noisy(found.train_ND[index_B], NOISE, generator)
        return F.cross_entropy(head(down(F.relu(up(x_BD)))), found.train_N[index_B])

    descend(nn.ModuleList([up, down, head]), loss, len(found.train_N), seed=seed, steps=STEPS)
    return up, down, head, found


def _sliced(kind: str, seed: int) -> Mapping[str, float]:
    """Slices of the dense block, chosen by `kind`, tuned with the gate; the head too."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from turnout.nn import LinearGate, RandomChoice, RoutedLayer, Slices, TopK
    from turnout.nn.beds.digits import accuracy, descend, noisy

    up, down, head, found = _dense(seed)
    pool = Slices.of(up.weight, down.weight, EXPERTS, activation="relu", gated=False)
    generator = torch.Generator().manual_seed(seed)
    select: Selector = RandomChoice(CHOSEN) if kind == "random" else TopK(CHOSEN)
    gate = LinearGate(64, EXPERTS)
    if kind == "fixed":  # the slices with the largest weights, whatever comes in
        gate.linear.weight.requires_grad_(False).zero_()
        ups: Any = pool.up_proj
        size_E = ups.flatten(1).norm(dim=1) * pool.down_proj.flatten(1).norm(dim=1)
        gate.linear.bias = nn.Parameter(size_E.detach(), requires_grad=False)
    layer = RoutedLayer(gate, select, pool)

    def scores(x_BD: Tensor) -> Tensor:
        # weights sum to 1, the slices of the dense block to 1 each: k gives the same scale
        out_BC: Tensor = head(CHOSEN * layer(x_BD).output)
        return out_BC

    def loss(index_B: Tensor) -> Tensor:
        return F.cross_entropy(scores(noisy(found.train_ND[index_B], NOISE, generator)), found.train_N[index_B])

    descend(nn.ModuleList([layer, head]), loss, len(found.train_N), seed=seed, steps=TUNING)
    seen_ND = noisy(found.test_ND.repeat(4, 1), NOISE, torch.Generator().manual_seed(1000 + seed))
    with torch.no_grad():
        return {"accuracy": accuracy(scores(seen_ND), found.test_N.repeat(4)), "slices run": float(CHOSEN)}


def _whole(seed: int) -> Mapping[str, float]:
    import torch
    from torch.nn import functional as F

    from turnout.nn.beds.digits import accuracy, noisy

    up, down, head, found = _dense(seed)
    seen_ND = noisy(found.test_ND.repeat(4, 1), NOISE, torch.Generator().manual_seed(1000 + seed))
    with torch.no_grad():
        right = accuracy(head(down(F.relu(up(seen_ND)))), found.test_N.repeat(4))
    return {"accuracy": right, "slices run": float(EXPERTS)}


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {
            "routed slices": partial(_sliced, "routed"),
            "fixed slices": partial(_sliced, "fixed"),
            "random slices": partial(_sliced, "random"),
            "the dense network": _whole,
        },
        metric="accuracy",
        against="fixed slices",
        better="higher",
        table="noisy digits",
        protocol=f"a trained block of {HIDDEN} hidden units cut into {EXPERTS} slices, {CHOSEN} run, all tuned "
        f"{TUNING} steps; noise of σ = {NOISE}",
    )


UNION_OF_EXPERTS = System(
    name="union_of_experts",
    number=122,
    title="Union-of-Experts",
    level="in-model",
    claim=Claim(
        "Slices of a transformer's own blocks, routed, beat full attention and mixtures of experts on language "
        "modelling (2.38 less perplexity at 76 % of the FLOPs of the best mixture), long ranges and images.",
        "abstract in the repository README",
    ),
    parts=("gate:linear_gate", "selector:top_k", "experts:slices"),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="noisy digits",
    deviations=(
        "The feed-forward block alone, routed per token: the authors' gate reads a flattened sequence of fixed length, "
        "its choice leaves outputs unweighed in the public code, and they slice attention too.",
    ),
    limits=("The number of slices must divide the hidden units.",),
    code="github.com/YujiaoYang-work/UoE",
)
