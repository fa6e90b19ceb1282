"""A gate that looks the task up: one row of logits per task, or one per task and block."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["TaskTableGate"]


class TaskTableGate(Gate):
    """logits = Z[task of the token]: [T, D] → [T, E], from a learned table Z [tasks, blocks, E].

    With `blocks` > 1 (multi-head routing) the logits are the mean over blocks, and `weights(task_T)` gives each
    block's own: σ(Z)/Σσ, [T, blocks, E], for a combiner that mixes blocks of weights. `grow(tasks)` adds rows that
    start at the mean of those there are, for new tasks of a trained pool.

    Source: Ponti et al., "Combining Modular Skills in Multitask Learning" (Poly), 2022; Page-Caccia et al.,
    "Multi-Head Adapter Routing" (MHR), 2023; `microsoft/mttl`. Deviation: no Gumbel noise on Z. Limits: needs the
    context's task_T; says nothing of tasks without a row.

    >>> gate = TaskTableGate(tasks=3, experts=4, blocks=2)
    >>> context = RoutingContext(task_T=torch.tensor([0, 2]))
    >>> tuple(gate(torch.randn(2, 8), context)[0].shape), tuple(gate.weights(context.task_T).shape)
    ((2, 4), (2, 2, 4))
    """

    rules: ClassVar = {
        "tasks": Number(1, integer=True),
        "experts": Number(1, integer=True),
        "blocks": Number(1, integer=True),
        "spread": Number(0),
    }

    def __init__(self, tasks: int, experts: int, *, blocks: int = 1, spread: float = 1e-3) -> None:
        super().__init__()
        self.require(tasks=tasks, experts=experts, blocks=blocks, spread=spread)
        self.experts, self.blocks = experts, blocks
        self.table = nn.Parameter(torch.empty(tasks, blocks, experts).uniform_(-spread, spread))

    @property
    def tasks(self) -> int:
        """Rows of the table."""
        return self.table.shape[0]

    def weights(self, task_T: Tensor) -> Tensor:
        """σ(Z)/Σσ of each token's task, [T, blocks, E]."""
        share_TBE = self._rows(task_T).sigmoid()
        return share_TBE / share_TBE.sum(-1, keepdim=True).clamp_min(1e-9)

    @torch.no_grad()
    def grow(self, tasks: int) -> None:
        """Add rows at the mean of those there are; make a new optimizer afterwards."""
        mean = self.table.mean(0, keepdim=True).expand(tasks, -1, -1)
        self.table = nn.Parameter(torch.cat([self.table, mean]))

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        if context.task_T is None:
            raise RoutingError("TaskTableGate needs the context's task_T, got None")
        if context.task_T.shape != x_TD.shape[:1]:
            allowed = tuple(x_TD.shape[:1])
            raise RoutingError(f"TaskTableGate: task_T must have shape {allowed}, got {tuple(context.task_T.shape)}")
        return self._rows(context.task_T).mean(1)

    def _rows(self, task_T: Tensor) -> Tensor:
        if not (torch.compiler.is_compiling() or task_T.is_cuda) and task_T.numel():
            low, high = int(task_T.min()), int(task_T.max())
            if low < 0 or high >= self.tasks:
                raise RoutingError(f"TaskTableGate: tasks must be 0 to {self.tasks - 1}, got {low} to {high}")
        return self.table.float()[task_T]
