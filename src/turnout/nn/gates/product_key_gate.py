"""A gate over very many experts: the sum of two small gates over a √E × √E grid."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number
from turnout.errors import ParameterError, RoutingError
from turnout.nn._steady import Steady, once
from turnout.nn.base import Gate
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["ProductKeyGate"]


class ProductKeyGate(Steady, Gate):
    """logits[t, i·√E + j] = log softmax(a)[t, i] + log softmax(b)[t, j]: [T, D] → [T, E]; E must be a square.

    Each axis is a linear map to √E, normalised over tokens without affine (`norm`; padding does not count, running
    moments serve evaluation and move once per training pass). The logits are log-probabilities, so a softmax over them
    gives the product of both axes. `top` and `plan` find the k best exactly from the k best of each axis, without
    writing E numbers a token: the k-th best of the grid cannot use a key outside an axis's k best.

    Source: Lample et al., "Large Memory Layers with Product Keys", 2019; OmniMoE (flash-algo/omni-moe). Limits: the
    two axes are independent given the token; the grid of full logits costs T·E.

    >>> gate = ProductKeyGate(8, 16).eval()
    >>> x_TD = torch.randn(5, 8)
    >>> logits_TE, _ = gate(x_TD)
    >>> fast = gate.plan(x_TD, 3)
    >>> bool((fast.idx_TK == logits_TE.topk(3).indices).all())
    True
    """

    steady: ClassVar = ("running_mean", "running_var")
    rules: ClassVar = {
        "width": Number(1, integer=True),
        "experts": Number(1, integer=True),
        "momentum": Number(0, 1),
    }

    def __init__(self, width: int, experts: int, *, norm: bool = True, momentum: float = 0.1) -> None:
        super().__init__()
        self.require(width=width, experts=experts, momentum=momentum)
        self.side = math.isqrt(experts)
        if self.side**2 != experts:
            raise ParameterError(f"ProductKeyGate: `experts` must be a square, got {experts}")
        self.width, self.experts, self.norm, self.momentum = width, experts, norm, momentum
        self.keys = nn.Linear(width, 2 * self.side, bias=False)
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(2 * self.side))
        self.register_buffer("running_var", torch.ones(2 * self.side))

    def axes(self, x_TD: Tensor, context: RoutingContext | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities [T, √E] of the rows and of the columns of the grid."""
        keys_TA = F.linear(x_TD.float(), self.keys.weight.float())
        if self.norm:
            keys_TA = self._normed(keys_TA, context or RoutingContext())
        row_TA, column_TA = keys_TA.chunk(2, dim=-1)
        return row_TA.log_softmax(-1), column_TA.log_softmax(-1)

    def top(self, x_TD: Tensor, k: int, context: RoutingContext | None = None) -> tuple[Tensor, Tensor]:
        """The k best experts [T, k] and their log-probabilities, best first. Raises RoutingError for k above E."""
        if k > self.experts:
            raise RoutingError(f"ProductKeyGate: k must be at most the number of experts, got k={k}, E={self.experts}")
        per_axis = min(k, self.side)
        row_TA, column_TA = self.axes(x_TD, context)
        rows, columns = row_TA.topk(per_axis, dim=-1), column_TA.topk(per_axis, dim=-1)
        sums_TAA = rows.values[:, :, None] + columns.values[:, None, :]
        found = sums_TAA.flatten(1).topk(k, dim=-1)
        row_TK = rows.indices.gather(-1, found.indices.div(per_axis, rounding_mode="floor"))
        column_TK = columns.indices.gather(-1, found.indices % per_axis)
        return row_TK * self.side + column_TK, found.values

    def plan(self, x_TD: Tensor, k: int, context: RoutingContext | None = None) -> Plan:
        """The plan of the k best, weighed by probability; its scores and logits are 0 everywhere and take no memory.

        For `Override(plan=…)` or a dispatcher; balancers that read scores need the full logits.
        """
        idx_TK, log_p_TK = self.top(x_TD, k, context)
        nothing_TE = log_p_TK.new_zeros(()).expand(x_TD.shape[0], self.experts)
        plan = Plan(idx_TK, log_p_TK.exp(), nothing_TE, nothing_TE, full=True)
        return plan if context is None or context.mask_T is None else plan.without(context.mask_T)

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        row_TA, column_TA = self.axes(x_TD, context)
        return (row_TA[:, :, None] + column_TA[:, None, :]).flatten(1)

    def _normed(self, keys_TA: Tensor, context: RoutingContext) -> Tensor:
        mean_A, var_A = self.running_mean, self.running_var
        if self.training:
            real_TA = keys_TA if context.mask_T is None else keys_TA[context.mask_T]
            if real_TA.shape[0] > 1:
                mean_A, var_A = real_TA.mean(0), real_TA.var(0, unbiased=False)
                with torch.no_grad():
                    share = once(mean_A.new_full((), self.momentum))  # 0 for a recomputed pass
                    self.running_mean.lerp_(mean_A, share)
                    self.running_var.lerp_(var_A, share)
        return (keys_TA - mean_A) * (var_A + 1e-5).rsqrt()
