"""The reference: every expert sees every token."""

from __future__ import annotations

from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import UniformSegments
from turnout.nn.plan import Plan

__all__ = ["Dense"]


class Dense(Dispatcher):
    """Run all E experts on all T tokens and keep the chosen outputs; what every other path must equal.

    Limits: E / K times the work, [E·T, M] memory. Right for soft routing over a handful of experts.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=Dense())
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        segments = UniformSegments(plan.experts, plan.tokens, x_TD.device)
        y_NM = experts(x_TD.repeat(plan.experts, 1), segments)
        slot_N = plan.mask_TK.reshape(-1).nonzero()[:, 0]
        expert_N = plan.idx_TK.reshape(-1).index_select(0, slot_N)
        token_N = slot_N.div(plan.k, rounding_mode="floor")
        return Dispatched(y_NM.index_select(0, expert_N * plan.tokens + token_N), slot_N, plan.tokens, plan.k, False)
