"""Every expert with a positive logit."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import refuse_bias

__all__ = ["ReLU"]


class ReLU(Selector):
    """Experts whose logit is above 0, weighed by RMSNorm(ReLU(logits)) with a learned scale [E]: [T, E] → [T, K].

    No softmax and no k: the gate is differentiable everywhere, and an L1 controller or a chunk loss decides how many
    experts fire. `norm=False` weighs by the bare ReLU (ReMoE). A token may get no expert at all.

    Source: Song et al., "BlockFFN", 2025, and its code; Wang et al., "ReMoE", 2024. Limits: without a controller the
    number of experts drifts; a bias on the choice would pick experts of weight 0 and is refused.

    >>> plan = ReLU(3)(torch.tensor([[1.0, -1.0, 2.0], [-1.0, -2.0, -3.0]]))
    >>> plan.idx_TK.tolist()
    [[0, 2], [3, 3]]
    """

    rules: ClassVar = {"experts": Number(1, integer=True), "eps": Number(0)}

    def __init__(self, experts: int, *, norm: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        self.require(experts=experts, eps=eps)
        self.eps = eps
        self.scale_E = nn.Parameter(torch.ones(experts)) if norm else None
        self.experts = experts

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        refuse_bias("ReLU", bias_E, "an expert below 0 has weight 0; use an L1 controller")
        if logits_TE.shape[-1] != self.experts:
            raise RoutingError(f"ReLU is for {self.experts} experts, got logits of {logits_TE.shape[-1]}")
        weights_TE = scores_TE = logits_TE.relu()
        chosen_TE = logits_TE > 0
        if self.scale_E is not None:
            scores_TE = scores_TE * (scores_TE.square().mean(-1, keepdim=True) + self.eps).rsqrt()
            weights_TE = scores_TE * self.scale_E.float()
        return Plan.of_mask(chosen_TE, weights_TE, logits_TE, scores_TE)
