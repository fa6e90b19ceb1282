"""Every expert, weighed by its probability."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import OneOf
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import SCORES, refuse_bias, scores_of

__all__ = ["Soft"]


class Soft(Selector):
    """All E experts with softmax weights, or sigmoid ones: [T, E] → [T, E].

    Source: Jacobs et al., "Adaptive Mixtures of Local Experts", 1991. Limits: costs all experts; right for a handful,
    or where experts are merged in weight space.

    >>> plan = Soft()(torch.zeros(1, 4))
    >>> plan.idx_TK.tolist(), plan.weights_TK.tolist()
    ([[0, 1, 2, 3]], [[0.25, 0.25, 0.25, 0.25]])
    """

    rules: ClassVar = {"score": OneOf(SCORES)}

    def __init__(self, score: str = "softmax") -> None:
        super().__init__()
        self.require(score=score)
        self.score = score

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        refuse_bias("Soft", bias_E, "every expert is chosen")
        scores_TE = scores_of(logits_TE, self.score)
        tokens, experts = logits_TE.shape
        idx_TE = torch.arange(experts, device=logits_TE.device).expand(tokens, experts)
        silenced_TE = logits_TE == float("-inf")
        if torch.compiler.is_compiling() or not bool(silenced_TE.any()):
            return Plan(idx_TE, scores_TE, scores_TE, logits_TE, full=True)
        return Plan(idx_TE.masked_fill(silenced_TE, experts), scores_TE, scores_TE, logits_TE)
