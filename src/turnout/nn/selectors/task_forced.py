"""Top-k with a seat for the expert of a token's own task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number
from turnout.errors import ParameterError, RoutingError
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import normalized, taken
from turnout.nn.selectors.top_k import TopK

__all__ = ["TaskForced"]


class TaskForced(Selector):
    """Top-k, where the expert of the token's task takes the last seat if it has none: [T, E] → [T, K].

    `expert_G` is the expert of each task (a language, or a family of languages that share one). Weights are the chosen
    experts' softmax scores, normalised, so the gate still says how much each counts. Tasks are the context's `task_T`;
    without them, and for a task of −1, it is plain top-k. Source: Zheng et al., "Efficiently Democratizing Medical LLMs
    for 50 Languages via a Mixture of Language Family Experts", 2024 (Hybrid-k routing); its code forces in training
    only, which leaving out task_T in evaluation does here. Limits: needs the task of every token where it shall count.

    >>> from turnout.nn import RoutingContext
    >>> logits_TE = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    >>> plan = TaskForced([2, 0], k=2)(logits_TE, RoutingContext(task_T=torch.tensor([0, 1])))
    >>> plan.idx_TK.tolist()
    [[0, 2], [0, 1]]
    """

    rules: ClassVar = {"k": Number(1, integer=True)}

    def __init__(self, expert_G: Sequence[int], k: int = 2) -> None:
        super().__init__()
        self.require(k=k)
        if not expert_G or min(expert_G) < 0:
            raise ParameterError(f"TaskForced: `expert_G` needs an expert, at least 0, per task, got {list(expert_G)}")
        self.expert_G: Tensor
        self.register_buffer("expert_G", torch.tensor(expert_G), persistent=False)
        self.top = TopK(k)

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        plan = self.top._choose(logits_TE, context, bias_E)
        if context.task_T is None:
            return plan
        self._check(context.task_T, logits_TE)
        own_T = self.expert_G[context.task_T.clamp(min=0)]
        seated_T = (plan.idx_TK == own_T[:, None]).any(1) | (context.task_T < 0)
        silenced_T = logits_TE.gather(1, own_T[:, None])[:, 0] == float("-inf")
        last_T = torch.where(seated_T | silenced_T, plan.idx_TK[:, -1], own_T)
        idx_TK = torch.cat([plan.idx_TK[:, :-1], last_T[:, None]], 1)
        weights_TK = taken(plan.scores_TE, idx_TK, plan.full)
        return replace(plan, idx_TK=idx_TK, weights_TK=normalized(weights_TK))

    def _check(self, task_T: Tensor, logits_TE: Tensor) -> None:
        if task_T.shape != logits_TE.shape[:1]:
            raise RoutingError(f"task_T must have shape ({logits_TE.shape[0]},), got {tuple(task_T.shape)}")
        if torch.compiler.is_compiling() or not task_T.numel():
            return
        tasks, experts = len(self.expert_G), logits_TE.shape[1]
        if int(task_T.max()) >= tasks:
            raise RoutingError(f"TaskForced knows tasks 0 to {tasks - 1}, got {int(task_T.max())}")
        if int(self.expert_G.max()) >= experts:
            raise RoutingError(f"TaskForced: expert {int(self.expert_G.max())} of a task is none of {experts}")
