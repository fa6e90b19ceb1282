"""Loss-free balancing: a bias on the choice, moved by the sign of each expert's load error."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number
from turnout.nn._steady import Steady, drained, tallied
from turnout.nn.base import Balancer, Routing

__all__ = ["LossFreeBias"]


class LossFreeBias(Steady, Balancer):
    """b ← b + u · sign(mean(c) − c), then centred; `update_biases(model)` moves it once per optimizer step.

    Counts c gather over every training forward since the last step (gradient accumulation), not in evaluation, not
    again when activation checkpointing recomputes, and over all replicas where `torch.distributed` runs.
    Source: Wang et al., "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts", 2024. Limits: the bias
    is on the scale of the scores, so u = 1e-3 suits sigmoid or softmax scores, not raw logits.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK, update_biases
    >>> bias = LossFreeBias(4)
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(1), FFN(4, 8, 16), balancers=[bias])
    >>> _ = layer(torch.randn(64, 8)); update_biases(layer)
    1
    >>> abs(bias.bias_E.sum().item()) < 1e-6, int(bias.counts_E.sum())
    (True, 0)
    """

    steady: ClassVar = ("bias",)
    rules: ClassVar = {"experts": Number(1, integer=True), "rate": Number(0)}

    def __init__(self, experts: int, rate: float = 1e-3) -> None:
        super().__init__()
        self.require(experts=experts, rate=rate)
        self.rate = rate
        self.bias: Tensor
        self.register_buffer("bias", torch.zeros(experts))
        self.counts_E = torch.zeros(experts, dtype=torch.int64)

    @property
    def bias_E(self) -> Tensor:
        """The bias on the choice, [E] float32, sum 0."""
        return self.bias

    @torch.no_grad()
    def after_step(self) -> bool:
        """One step from the counts gathered since the last; False where no token was counted."""
        total_E, self.counts_E = drained(self.counts_E, self.bias)
        counts_E = total_E.float()
        if not bool(counts_E.any()):
            return False
        self.bias_E.add_(self.rate * (counts_E.mean() - counts_E).sign())
        self.bias_E.sub_(self.bias_E.mean())
        return True

    def _loss(self, routing: Routing) -> None:
        if self.training:
            with torch.no_grad():
                self.counts_E = tallied(self.counts_E, routing.plan.counts_E)
