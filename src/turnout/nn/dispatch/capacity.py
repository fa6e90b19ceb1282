"""Dispatch with a capacity: what does not fit an expert is dropped, or the experts' rows are padded to one height."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import GroupedSegments, UniformSegments, run, run_blocks
from turnout.nn.plan import Plan, counted

__all__ = ["Capacity"]


class Capacity(Dispatcher):
    """An expert takes at most C rows: the rest is dropped, so that its token gets nothing from that slot.

    `factor` f has Tutel's meaning: f > 0 gives C = ⌈f·K·T/E⌉; 0 is dropless, C what the fullest expert needs; f < 0
    caps that need at ⌈|f|·K·T/E⌉. It may be set anew before every call. `priority` says who comes first: `token` (by
    position), `choice` (every token's first choice, the expert of most weight, before any second, as GShard and Tutel),
    or `batch` (the same, the tokens of the highest score first). The plan's `kept_TK` tells what was dropped. With
    `pad` every expert gets exactly C rows in one batched product: fixed shapes for f > 0, as CUDA graphs want them.

    Source: Lepikhin et al., "GShard", 2020; Riquelme et al. (batch priority), 2021; Hwang et al., "Tutel", 2022.
    Limits: dropping changes the function; a token's output depends on the others of its batch. Padding costs E·C rows
    of work however few are filled.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=Capacity(0.5))
    >>> plan = layer(torch.randn(16, 8)).plan
    >>> [min(int(c), 4) for c in plan.counts_E] == [int(plan.kept_TK[plan.idx_TK == e].sum()) for e in range(4)]
    True
    """

    rules: ClassVar = {"factor": Number(), "priority": OneOf(("token", "choice", "batch"))}

    def __init__(self, factor: float = 1.0, *, priority: str = "token", pad: bool = False) -> None:
        super().__init__()
        self.require(factor=factor, priority=priority)
        self.factor, self.priority, self.pad = factor, priority, pad

    def capacity(self, plan: Plan) -> int:
        """C, the rows that an expert takes of this plan."""
        given = math.ceil(abs(self.factor) * plan.k * plan.tokens / plan.experts - 1e-9)  # 1.1 · 100 / 11 is 10
        if self.factor > 0:
            return given
        needed = int(plan.counts_E.max())
        return needed if self.factor == 0 else min(needed, given)

    def admit(self, plan: Plan) -> Plan:
        """The plan with `kept_TK`: False where a slot is empty or beyond its expert's capacity."""
        if self.factor == 0:
            return plan
        return plan.keeping((self._rank(plan) < self.capacity(plan)) & plan.mask_TK)

    def _weighted(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Tensor:
        if self.pad or not experts.quick(plan.tokens * plan.k):
            return super()._weighted(x_TD, plan, experts)
        return run_blocks(x_TD, self._admitted(plan), experts)

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        plan = self._admitted(plan)
        return self._padded(x_TD, plan, experts) if self.pad else run(x_TD, plan, experts, GroupedSegments)

    def _admitted(self, plan: Plan) -> Plan:
        return self.admit(plan) if plan.kept_TK is None else plan

    def _rank(self, plan: Plan) -> Tensor:
        """The place of each slot in its expert's queue, [T, K]."""
        slots = torch.arange(plan.idx_TK.numel(), device=plan.idx_TK.device).view(plan.tokens, plan.k)
        if self.priority != "token":
            # some selectors give a token's experts by number; of equal weights the earlier slot comes first
            weights_TK = plan.weights_TK.detach().masked_fill(~plan.mask_TK, float("-inf"))
            slots = slots.gather(1, weights_TK.argsort(dim=-1, descending=True, stable=True))
            if self.priority == "batch":
                slots = slots.index_select(0, plan.scores_TE.amax(-1).argsort(descending=True, stable=True))
            slots = slots.t()
        queue_N = slots.reshape(-1)
        flat_N = plan.idx_TK.reshape(-1)
        order_N = flat_N.index_select(0, queue_N).argsort(stable=True)
        counts = counted(flat_N, plan.experts + 1)
        starts_N = (counts.cumsum(0) - counts).index_select(0, flat_N.index_select(0, queue_N).index_select(0, order_N))
        rank_N = torch.arange(flat_N.shape[0], device=flat_N.device) - starts_N
        return torch.empty_like(rank_N).scatter_(0, queue_N.index_select(0, order_N), rank_N).view_as(plan.idx_TK)

    def _padded(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        capacity = self.capacity(plan)
        rows, held_TK = plan.experts * capacity, plan.held_TK
        place_N = torch.where(held_TK, plan.idx_TK * capacity + self._rank(plan), rows).reshape(-1)
        slot_N = torch.arange(place_N.shape[0], device=place_N.device)
        token_R = torch.full((rows + 1,), plan.tokens, device=place_N.device)
        token_R = token_R.scatter_(0, place_N, slot_N.div(plan.k, rounding_mode="floor"))[:rows]
        x_RD = torch.cat([x_TD, x_TD.new_zeros(1, x_TD.shape[1])]).index_select(0, token_R)
        y_RM = experts(x_RD, UniformSegments(plan.experts, capacity, x_TD.device))
        y_RM = torch.cat([y_RM, y_RM.new_zeros(1, y_RM.shape[1])])
        back_TK = slot_N.view(plan.tokens, plan.k)
        return Dispatched(y_RM.index_select(0, place_N), slot_N, plan.tokens, plan.k, True, back_TK, held_TK)
