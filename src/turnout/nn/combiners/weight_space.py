"""Experts mixed before they run: one mixed expert per token, sequence or task."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from turnout.base import OneOf
from turnout.errors import RoutingError
from turnout.nn.base import Combiner, Dispatcher, Experts
from turnout.nn.dispatch._segments import UniformSegments
from turnout.nn.dispatch.auto import Auto
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["WeightSpace"]


class Blocks(Protocol):
    """What gives each block of weights its own mixture: the task table gate."""

    def weights(self, task_T: Tensor) -> Tensor: ...


class WeightSpace(Combiner):
    """y_t = (Σ_e w_e · θ_e)(x_t): the experts' weights are summed, then one expert runs: [T, M].

    `per` says who shares a mixture: every `token` its own, or all tokens of a `sequence` or `task` of the context,
    whose plan weights are averaged; what a capacity drops is in no mixture. With `blocks` (a task table gate) each
    block of weights is mixed by that table's own row, as in multi-head adapter routing; `per` must then be `task`.

    Source: Ponti et al. (Poly), 2022; Page-Caccia et al. (MHR), 2023; Muqeeth et al. (SMEAR), 2023. Limits: for
    experts that have `merged`; per token it makes T experts, which only small ones (adapters, cores) afford.

    >>> from turnout.nn import LinearGate, LoRA, RoutedLayer, Soft
    >>> layer = RoutedLayer(LinearGate(8, 4), Soft(), LoRA(4, 8, rank=2), combiner=WeightSpace("sequence"))
    >>> context = RoutingContext(sequence_T=torch.tensor([0, 0, 1]))
    >>> tuple(layer(torch.randn(3, 8), context).output.shape)
    (3, 8)
    """

    rules: ClassVar = {"per": OneOf(("token", "sequence", "task"))}

    def __init__(self, per: str = "token", *, blocks: Blocks | None = None) -> None:
        super().__init__()
        self.require(per=per)
        if blocks is not None and per != "task":
            raise RoutingError(f"WeightSpace: blocks are mixed per task, got per={per!r}")
        self.per = per
        self._blocks = (blocks,)  # in a tuple: the gate is the layer's, not this part's

    def forward(
        self, x_TD: Tensor, plan: Plan, experts: Experts, dispatcher: Dispatcher, context: RoutingContext
    ) -> Tensor:
        """[T, M]. Raises RoutingError where the context lacks the sequence or task, or experts cannot be merged."""
        drops, plan = plan.kept_TK is not None, plan.as_run()
        group_T, weights = self._groups(plan, context)
        pool = experts.merged(weights)
        if self.per == "token":  # one row for each mixed expert
            y_TM: Tensor = pool(pool.prepare(x_TD), UniformSegments(plan.tokens, 1, x_TD.device))
            return torch.where(plan.held_TK.any(-1, keepdim=True), y_TM, 0)
        ones_T1 = x_TD.new_ones(plan.tokens, 1)
        chosen = Plan(group_T[:, None], ones_T1, ones_T1.expand(-1, pool.experts), ones_T1, full=True)
        # a capacity was meant for the experts that are mixed, not for the mixtures
        y_TM = (Auto() if drops else dispatcher)(x_TD, chosen, pool).weighted_sum(ones_T1)
        return torch.where(plan.held_TK.any(-1, keepdim=True), y_TM, 0)

    def _groups(self, plan: Plan, context: RoutingContext) -> tuple[Tensor, Tensor]:
        """The mixture of each token, and the weights [G, E] or [G, B, E] of each mixture."""
        if self.per == "token":
            return torch.arange(plan.tokens, device=plan.idx_TK.device), plan.weights_TE
        number_T = context.sequence_T if self.per == "sequence" else context.task_T
        if number_T is None or number_T.shape != (plan.tokens,):
            got = None if number_T is None else tuple(number_T.shape)
            raise RoutingError(f"WeightSpace per {self.per} needs {self.per}_T of shape ({plan.tokens},), got {got}")
        numbers_G, group_T = torch.unique(number_T, return_inverse=True)
        (blocks,) = self._blocks
        if blocks is not None:
            return group_T, blocks.weights(numbers_G)
        held_T = plan.held_TK.any(-1).to(plan.weights_TK.dtype)  # padding has no say
        total_GE = plan.weights_TK.new_zeros(len(numbers_G), plan.experts).index_add(0, group_T, plan.weights_TE)
        tokens_G = held_T.new_zeros(len(numbers_G)).index_add(0, group_T, held_T)
        return group_T, total_GE / tokens_G.clamp_min(1)[:, None]
