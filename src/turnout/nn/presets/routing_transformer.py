"""Routing Transformer: each centroid attends over its own tokens.

Source: Roy et al., "Efficient Content-Based Sparse Attention with Routing Transformers", TACL 2021; code
lucidrains/routing-transformer (an independent implementation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ROUTING_TRANSFORMER"]

CENTROIDS, MOMENTUM, PASSES = 16, 0.9, 30
WINDOWS, LENGTH, WIDTH, KINDS, NOISE, SHARPNESS = 16, 256, 16, 32, 0.5, 8.0


def _build() -> Mapping[str, Any]:
    from turnout.nn import ExpertChoice, PrototypeGate

    return {
        "gate": PrototypeGate(WIDTH, CENTROIDS, update="ema", momentum=MOMENTUM),
        "selector": ExpertChoice(1, unit="sequence"),
    }


def _keys(seed: int) -> tuple[Tensor, Tensor]:
    """Shared queries and keys [windows · S, d] of a retrieval task, and its attention mass [windows, S, S].

    Tokens are noisy copies of a few kinds, drawn at random over the window, so that what a token should attend to is
    its own kind wherever it stands.
    """
    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(seed)
    kinds_VD = F.normalize(torch.randn(KINDS, WIDTH, generator=generator), dim=-1)
    kind_WS = torch.randint(KINDS, (WINDOWS, LENGTH), generator=generator)
    noise_WSD = torch.randn(WINDOWS, LENGTH, WIDTH, generator=generator) / WIDTH**0.5
    x_WSD = F.normalize(kinds_VD[kind_WS] + NOISE * noise_WSD, dim=-1)
    future_SS = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    mass_WSS = (SHARPNESS * x_WSD @ x_WSD.transpose(1, 2)).masked_fill(future_SS, -math.inf).softmax(-1)
    return x_WSD.flatten(0, 1), mass_WSS


def _captured(kind: str, seed: int) -> Mapping[str, float]:
    """Share of the attention mass that pairs of one cluster hold, beside a window that sees as many pairs."""
    import torch

    from turnout.nn import RoutingContext

    x_TD, mass_WSS = _keys(seed)
    past_SS = torch.ones(LENGTH, LENGTH).tril()
    if kind == "local":
        # a cluster of S/c tokens pairs a token with S/(2c) before it on average
        seen_WSS = (past_SS * torch.ones(LENGTH, LENGTH).triu(-(LENGTH // CENTROIDS // 2))).expand_as(mass_WSS)
    else:
        context = RoutingContext(sequence_T=torch.arange(WINDOWS).repeat_interleave(LENGTH))
        member_WSE = _clusters(x_TD, kind, seed, context).float().view(WINDOWS, LENGTH, CENTROIDS)
        seen_WSS = ((member_WSE @ member_WSE.transpose(1, 2)) > 0) * past_SS
    return {
        "attention mass kept": float((mass_WSS * seen_WSS).sum() / (WINDOWS * LENGTH)),
        "pairs looked at": float(seen_WSS.sum() / (WINDOWS * past_SS.sum())),
    }


def _clusters(x_TD: Tensor, kind: str, seed: int, context: Any) -> Tensor:
    """Which tokens each centroid takes: its best, equally many for each; of random centroids as a control."""
    import torch

    from turnout.nn import update_biases

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = _build()
    gate = parts["gate"].train()
    with torch.no_grad():
        for _ in range(PASSES if kind == "routed" else 0):
            gate(x_TD, context)
            update_biases(gate)
        logits_TE, _ = gate.eval()(x_TD, context)
        chosen_TE: Tensor = parts["selector"](logits_TE, context).chosen_TE
    return chosen_TE


def _measure(system: System, run: Run) -> Figures:
    names = {"routed": "clusters of keys", "random": "random centroids", "local": "a local window"}
    return compare(
        system,
        run,
        {title: partial(_captured, kind) for kind, title in names.items()},
        metric="attention mass kept",
        against=names["random"],
        better="higher",
        table="retrieval far apart",
        protocol=f"{WINDOWS} windows of {LENGTH} tokens, noisy copies of {KINDS} kinds; {CENTROIDS} centroids take "
        f"{LENGTH // CENTROIDS} tokens each, the local window spans as many pairs",
        mechanism=True,
    )


ROUTING_TRANSFORMER = System(
    name="routing_transformer",
    number=56,
    title="Routing Transformer",
    level="in-model",
    claim=Claim(
        "15.8 against 18.3 perplexity of comparable sparse attention on WikiText-103, 3.43 against 3.44 bits per "
        "dimension on ImageNet-64, with fewer layers.",
        "abstract",
    ),
    parts=("gate:prototype_gate", "selector:expert_choice"),
    novelty="gate",
    build=_build,
    measure=_measure,
    table="retrieval far apart",
    deviations=(
        "What clusters keep of a content-based attention is measured; no model is trained with sparse attention.",
        "Momentum .9 over 30 passes instead of .999 over a training.",
    ),
    limits=(
        "Clusters are chosen over a whole window, so a causal model must mask what a token may not see.",
        "On a small dense character model's attention, which is mostly local, the same clusters keep .14 of the mass, "
        "no more than random centroids.",
    ),
    code="github.com/lucidrains/routing-transformer",
)
