"""A gate that trusts the first expert as far as that expert trusts itself."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number, Of, OneOf
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["ConfidenceGate"]


class ConfidenceGate(Gate):
    """C = G(dispersion of softmax(weak(x))); logits are log C for expert 0, log (1−C)/(E−1) for the others: → [T, E].

    `weak` maps x [T, D] to class scores; it is expert 0, or what expert 0 reads, and the gate refers to it without
    owning it. Dispersion is the `variance` of the probabilities (scaled to 1 for a certain answer) or 1 − entropy / log
    n, 0…1 both. G is a small network that never falls as dispersion rises: weights are squared, activations rise.
    With `learned=False` C is the dispersion itself. Softmax of the logits gives (C, 1−C) exactly, so `Soft` mixes as
    Mowst* and `TopK(1)` is a cascade at C = 1/2.

    Source: Zeng et al., "Mixture of Weak & Strong Experts on Graphs" (Mowst), 2024, and its code. Deviation: the gate
    is monotone by construction, there by choice of the network. Limits: no gradient reaches `weak` from here
    (`detach`, as they train in turns); a weak expert that is surely wrong keeps its tokens.

    >>> _ = torch.manual_seed(0)
    >>> weak = torch.nn.Linear(8, 3)
    >>> logits_TE, _ = ConfidenceGate(weak, learned=False)(torch.zeros(1, 8) + 1e3)
    >>> [round(p, 2) for p in logits_TE.softmax(-1)[0].tolist()]
    [1.0, 0.0]
    """

    rules: ClassVar = {
        "weak": Of((nn.Module,)),
        "experts": Number(2, integer=True),
        "dispersion": OneOf(("variance", "entropy")),
        "hidden": Number(1, integer=True),
    }

    def __init__(
        self,
        weak: nn.Module,
        experts: int = 2,
        *,
        dispersion: str = "variance",
        learned: bool = True,
        hidden: int = 8,
        detach: bool = True,
    ) -> None:
        super().__init__()
        self.require(weak=weak, experts=experts, dispersion=dispersion, hidden=hidden)
        self.experts, self.dispersion, self.detach = experts, dispersion, detach
        self._weak = (weak,)
        self.rising = _Rising(hidden) if learned else None

    def confidence(self, x_TD: Tensor) -> Tensor:
        """C [T] in (0, 1)."""
        held = next(self._weak[0].parameters(), x_TD)
        scores_TC = self._weak[0](x_TD.to(held.dtype))
        p_TC = (scores_TC.detach() if self.detach else scores_TC).float().softmax(-1)
        classes = p_TC.shape[-1]
        if self.dispersion == "variance":
            spread_T = (p_TC - 1 / classes).square().sum(-1) * classes / max(classes - 1, 1)
        else:
            entropy_T = -(p_TC * p_TC.clamp_min(1e-12).log()).sum(-1)
            spread_T = 1 - entropy_T / math.log(max(classes, 2))
        sure_T: Tensor = spread_T if self.rising is None else self.rising(spread_T)
        return sure_T

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        sure_T1 = self.confidence(x_TD)[:, None].clamp(1e-6, 1 - 1e-6)
        rest_TE = ((1 - sure_T1) / (self.experts - 1)).expand(-1, self.experts - 1)
        return torch.cat([sure_T1, rest_TE], dim=-1).log()


class _Rising(nn.Module):
    """[0, 1] → (0, 1), never falling: σ(Σ_h w_h² tanh(v_h² s + b_h) + c)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Parameter(torch.linspace(0.5, 2, hidden))
        self.shift = nn.Parameter(-torch.linspace(0, 2, hidden))
        self.leave = nn.Parameter(torch.full((hidden,), hidden**-0.5))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, spread_T: Tensor) -> Tensor:
        """Confidence of dispersion."""
        hidden_TH = torch.tanh(spread_T[:, None] * self.enter.float().square() + self.shift.float())
        return torch.sigmoid(F.linear(hidden_TH, self.leave.float().square()[None])[:, 0] + self.offset.float())
