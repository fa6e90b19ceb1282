"""The combiner that weighs every chosen expert alike."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Number
from turnout.nn.base import Combiner, Dispatcher, Experts
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["Constant"]


class Constant(Combiner):
    """y = ω · Σ_k expert_k(x): [T, M]; ω = `weight`, or 1 / (experts of the token) where it is None.

    The gate gets no gradient through the output, so it is trained by something else: leave-one-out REINFORCE in ReMix,
    whose ω is 2/(k·r) or 2/√(k·r) for adapters of rank r. No expert can be crowded out by its weight.

    Source: ReMix (arXiv 2603.10160). Limits: the gate learns nothing by itself.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(4, 3), TopK(2), FFN(3, 4, 8), combiner=Constant())
    >>> layer(torch.randn(5, 4)).output.sum().backward()
    >>> layer.gate.linear.weight.grad is None
    True
    """

    rules: ClassVar = {"weight": Number(optional=True)}

    def __init__(self, weight: float | None = None) -> None:
        super().__init__()
        self.require(weight=weight)
        self.weight = weight

    def forward(
        self, x_TD: Tensor, plan: Plan, experts: Experts, dispatcher: Dispatcher, context: RoutingContext
    ) -> Tensor:
        """[T, M]."""
        held_TK = plan.held_TK.to(x_TD.dtype)
        if self.weight is None:
            held_TK = held_TK / held_TK.sum(-1, keepdim=True).clamp_min(1)
        y_TM: Tensor = dispatcher(x_TD, plan, experts).weighted_sum(
            held_TK if self.weight is None else self.weight * held_TK
        )
        return y_TM
