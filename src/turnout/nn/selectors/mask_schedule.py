"""A pool of candidates that opens with training."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, Of
from turnout.errors import ParameterError, RoutingError
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["MaskSchedule"]


class MaskSchedule(Selector):
    """Another selector whose candidates are `local` experts at first and all E later: [T, E] → its plan.

    Up to the context's step `start` only experts first … first + local − 1 may be chosen, from there the rest opens
    linearly, in cyclic order after them, until all are open at step `end`. The furthest step seen in training is kept
    (`opened`, saved with the state), and evaluation uses it whatever its own step says.

    Source: Tan et al., "ReXMoE", 2025 (equation 6; local to about step 10 k, all by about 30 k: secondary source).
    Deviation: the paper gives the number, and draws at random in each iteration which experts stay closed. Limits:
    needs the context's step in training; a compiled graph does not see that fewer are open than a top-k takes.

    >>> from turnout.nn import TopK
    >>> select = MaskSchedule(TopK(2), local=2, start=0, end=10)
    >>> logits_TE = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    >>> [sorted(select(logits_TE, RoutingContext(step=step)).idx_TK[0].tolist()) for step in (0, 5, 10)]
    [[0, 1], [1, 2], [2, 3]]
    """

    rules: ClassVar = {
        "selector": Of((Selector,)),
        "local": Number(1, integer=True),
        "first": Number(0, integer=True),
        "start": Number(0, integer=True),
        "end": Number(0, integer=True),
    }

    def __init__(self, selector: Selector, local: int, *, first: int = 0, start: int = 10_000, end: int = 30_000):
        super().__init__()
        self.require(selector=selector, local=local, first=first, start=start, end=end)
        if end < start:
            raise ParameterError(f"MaskSchedule: `end` must be at least `start`, got {end} < {start}")
        self.selector, self.local, self.first, self.start, self.end = selector, local, first, start, end
        self.opened: Tensor
        self.register_buffer("opened", torch.zeros((), dtype=torch.int64))

    def candidates(self, step: int, experts: int) -> int:
        """How many experts may be chosen at a step."""
        if step >= self.end:
            return experts
        share = max(0.0, (step - self.start) / max(self.end - self.start, 1))
        return self.local + int(share * (experts - self.local) + 1e-9)

    def _open(self, experts: int) -> Tensor | int:
        """How many experts may be chosen now; while a graph is traced a tensor, so that it holds for every step."""
        if torch.compiler.is_compiling():
            share = ((self.opened.double() - self.start) / max(self.end - self.start, 1)).clamp(0, 1)
            opened = self.local + (share * (experts - self.local) + 1e-9).long()
            return torch.where(self.opened >= self.end, experts, opened)
        count = self.candidates(int(self.opened), experts)
        k = getattr(self.selector, "k", None)
        if isinstance(k, int) and k > count:
            raise RoutingError(f"MaskSchedule: {count} experts are open, fewer than k={k}")
        return count

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        experts = logits_TE.shape[-1]
        if self.first + self.local > experts:
            raise RoutingError(f"MaskSchedule: experts {self.first} to {self.first + self.local - 1} of {experts}")
        if self.training:  # a recomputed pass has the step that it had, and moves nothing
            self.opened.clamp_(min=context.step)
        count = self._open(experts)
        distance_E = (torch.arange(experts, device=logits_TE.device) - self.first) % experts
        plan: Plan = self.selector(logits_TE.masked_fill(distance_E >= count, float("-inf")), context, bias_E)
        return plan
