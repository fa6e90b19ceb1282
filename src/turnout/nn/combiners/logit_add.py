"""Next-token distributions of experts, corrected by logits of the router's own."""

from __future__ import annotations

from torch import Tensor, nn

from turnout.nn.base import Combiner, Dispatcher, Experts
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["LogitAdd"]


class LogitAdd(Combiner):
    """y = Σ_k w_k · log softmax(expert_k(x)) + complement(x): [T, V] logits.

    Experts' outputs are logits over V; the complement repairs what no expert covers. With one expert per token it is
    FusionRoute's rule, with more a product of experts.

    Source: FusionRoute (2026). Limits: experts must share one vocabulary.

    >>> import torch
    >>> from turnout.nn import LinearGate, Modules, RoutedLayer, TopK
    >>> heads = Modules([nn.Linear(8, 5), nn.Linear(8, 5)])
    >>> layer = RoutedLayer(LinearGate(8, 2), TopK(1), heads, combiner=LogitAdd(nn.Linear(8, 5)))
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 5)
    """

    def __init__(self, complement: nn.Module) -> None:
        super().__init__()
        self.complement = complement

    def forward(
        self, x_TD: Tensor, plan: Plan, experts: Experts, dispatcher: Dispatcher, context: RoutingContext
    ) -> Tensor:
        """[T, V]."""
        logits_TKV: Tensor = dispatcher(x_TD, plan, experts).by_token()
        weights_TK1 = (plan.weights_TK * plan.held_TK).to(logits_TKV.dtype)[..., None]
        y_TV: Tensor = (weights_TK1 * logits_TKV.log_softmax(-1)).sum(1) + self.complement(x_TD)
        return y_TV
