"""The usual combiner: the experts' outputs summed by the plan's weights."""

from __future__ import annotations

from torch import Tensor

from turnout.nn.base import Combiner, Dispatcher, Experts
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["WeightedSum"]


class WeightedSum(Combiner):
    """y = Σ_k w_k · expert_k(x): [T, M]. A token without an expert gets 0.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(4, 2), TopK(1), FFN(2, 4, 8), combiner=WeightedSum())
    >>> tuple(layer(torch.randn(3, 4)).output.shape)
    (3, 4)
    """

    def forward(
        self, x_TD: Tensor, plan: Plan, experts: Experts, dispatcher: Dispatcher, context: RoutingContext
    ) -> Tensor:
        """[T, M]."""
        return dispatcher.weighted(x_TD, plan, experts)
