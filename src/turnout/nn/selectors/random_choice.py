"""Experts drawn uniformly: no gate at all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import best, check_k, groups_of, own_generator, refuse_bias, uniform

__all__ = ["RandomChoice"]

UNITS = ("token", "sequence", "batch")


class RandomChoice(Selector):
    """k experts drawn uniformly without replacement, each of weight 1/k: [T, E] → [T, k].

    `unit` says what shares a draw in training, `eval_unit` in evaluation (None: the same; `all`: every expert with
    weight 1/E). Logits count only where they silence an expert, so the gate gets no gradient.

    Source: Zuo et al., "Taming Sparsely Activated Transformer with Stochastic Experts" (THOR), 2021: one expert a
    batch, with a consistency loss between two passes. The baseline every gate should beat. Limits: by sequence it
    needs the context's sequence_T; evaluation is random too unless `eval_unit="all"`.

    >>> plan = RandomChoice(1, unit="batch")(torch.zeros(5, 4))
    >>> plan.idx_TK.unique().numel()
    1
    """

    rules: ClassVar = {
        "k": Number(1, integer=True),
        "unit": OneOf(UNITS),
        "eval_unit": OneOf((*UNITS, "all", None)),
    }

    def __init__(self, k: int = 1, *, unit: str = "token", eval_unit: str | None = None) -> None:
        super().__init__()
        self.require(k=k, unit=unit, eval_unit=eval_unit)
        self.k, self.unit, self.eval_unit = k, unit, eval_unit

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        refuse_bias("RandomChoice", bias_E, "its draw is balanced by itself")
        experts = logits_TE.shape[-1]
        check_k("RandomChoice", self.k, experts)
        unit = self.unit if self.training or self.eval_unit is None else self.eval_unit
        open_TE = logits_TE > float("-inf")
        scores_TE = open_TE / open_TE.sum(-1, keepdim=True).clamp_min(1)
        if unit == "all":
            return Plan.of_mask(open_TE, scores_TE, logits_TE)
        drawn_TE = self._drawn(logits_TE, context, unit).masked_fill(~open_TE, float("-inf"))
        idx_TK, full = best(drawn_TE, self.k, context)
        weights_TK = torch.full(idx_TK.shape, 1 / self.k, device=logits_TE.device)
        if not full:
            weights_TK = (idx_TK < experts) / (idx_TK < experts).sum(-1, keepdim=True).clamp_min(1)
        return Plan(idx_TK, weights_TK, scores_TE, logits_TE, full=full)

    def _drawn(self, logits_TE: Tensor, context: RoutingContext, unit: str) -> Tensor:
        generator = own_generator(context, "RandomChoice")
        tokens, experts = logits_TE.shape
        if unit == "token":
            return uniform(logits_TE, generator)
        group_T, groups = groups_of(tokens, context, logits_TE.device, by_sequence=unit == "sequence")
        return torch.rand(groups + 1, experts, generator=generator, device=logits_TE.device)[group_T]
