"""The reference: every expert sees every token."""

from __future__ import annotations

import torch
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
        idx_N = plan.idx_TK.reshape(-1)
        full = (plan.full and plan.kept_TK is None) or torch.compiler.is_compiling()
        held_N = plan.held_TK.reshape(-1)
        slot_N = torch.arange(idx_N.shape[0], device=idx_N.device) if full else held_N.nonzero()[:, 0]
        expert_N = idx_N.index_select(0, slot_N).clamp(max=plan.experts - 1)
        row_N = expert_N * plan.tokens + slot_N.div(plan.k, rounding_mode="floor")
        return Dispatched(
            y_NM.index_select(0, row_N),
            slot_N,
            plan.tokens,
            plan.k,
            full,
            slot_N.view(plan.tokens, plan.k) if full else None,
            None if plan.full and plan.kept_TK is None else plan.held_TK if full else None,
        )
