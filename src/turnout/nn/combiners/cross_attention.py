"""Experts' outputs fused by attention from the token."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.base import Combiner, Dispatcher, Experts
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["CrossAttention"]


class CrossAttention(Combiner):
    """The token asks, its K experts' outputs answer: y = W_o · Σ_k a_k W_v h_k, [T, D] × [T, K, M] → [T, D].

    a = softmax over the token's experts of q·k/√d + log w_k, so the gate's weights are the attention's prior and the
    gate learns. A token without an expert gets 0.

    Source: MoVA (`TempleX98/MoVA`), 2024; Mixture of Thoughts, 2025 (fusion of frozen experts). Limits: W_v runs on
    every expert's output; reads weights as probabilities, so they must not be negative.

    >>> from turnout.nn import LinearGate, Modules, RoutedLayer, TopK
    >>> encoders = Modules([nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(8, 6)])
    >>> layer = RoutedLayer(LinearGate(8, 3), TopK(2), encoders, combiner=CrossAttention(8, 6, heads=2))
    >>> tuple(layer(torch.randn(4, 8)).output.shape)
    (4, 8)
    """

    rules: ClassVar = {
        "width": Number(1, integer=True),
        "inner": Number(1, integer=True),
        "heads": Number(1, integer=True),
    }

    def __init__(self, width: int, inner: int, *, heads: int = 1) -> None:
        super().__init__()
        self.require(width=width, inner=inner, heads=heads)
        if width % heads:
            raise RoutingError(f"CrossAttention: heads must divide the width, got {heads} of {width}")
        self.heads = heads
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key, self.value = nn.Linear(inner, width, bias=False), nn.Linear(inner, width, bias=False)

    def forward(
        self, x_TD: Tensor, plan: Plan, experts: Experts, dispatcher: Dispatcher, context: RoutingContext
    ) -> Tensor:
        """[T, D]."""
        outputs_TKM = dispatcher(x_TD, plan, experts).by_token()
        channels = self.query.out_features // self.heads
        query_TH1C = self.query(x_TD).view(plan.tokens, self.heads, 1, channels)
        key_THKC, value_THKC = (
            made(outputs_TKM).view(plan.tokens, plan.k, self.heads, channels).transpose(1, 2)
            for made in (self.key, self.value)
        )
        prior_TK = plan.weights_TK.clamp_min(1e-9).log().masked_fill(~plan.held_TK, float("-inf"))
        alone_T = ~plan.held_TK.any(-1)
        prior_TK = prior_TK.masked_fill(alone_T[:, None], 0.0).to(x_TD.dtype)
        made_TH1C = nn.functional.scaled_dot_product_attention(
            query_TH1C, key_THKC, value_THKC, attn_mask=prior_TK[:, None, None, :]
        )
        y_TD: Tensor = self.out(made_TH1C.reshape(plan.tokens, self.heads * channels))
        return torch.where(alone_T[:, None], 0, y_TD)
