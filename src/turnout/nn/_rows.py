"""Rows between token order and expert order, with gradients that are gathers too: no atomic addition, no zero fill.

`slot_N` is the slot t·K + k that each row answers, `back_TK` the row that answers each slot (where every slot has one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from turnout.errors import RoutingError


def gather(x_TD: Tensor, token_N: Tensor, back_TK: Tensor | None) -> Tensor:
    """The token of each row: [T, D] → [N, D]. With `back_TK` its gradient is a sum of gathers."""
    if back_TK is None or not back_TK.numel():
        return x_TD.index_select(0, token_N)
    rows: Tensor = _Gather.apply(x_TD, token_N, back_TK)  # type: ignore[no-untyped-call]
    return rows


def combine(rows_NM: Tensor, weights_TK: Tensor, slot_N: Tensor, back_TK: Tensor) -> Tensor:
    """Σ_k weights · the row of slot (t, k): [T, M], without the [T, K, M] in between."""
    total: Tensor = _Combine.apply(rows_NM, weights_TK.to(rows_NM.dtype), slot_N, back_TK)  # type: ignore[no-untyped-call]
    return total


def permute(rows_NM: Tensor, to_N: Tensor, back_N: Tensor) -> Tensor:
    """rows[to], whose gradient is grad[back]; `back` undoes `to`."""
    moved: Tensor = _Permute.apply(rows_NM, to_N, back_N)  # type: ignore[no-untyped-call]
    return moved


def contiguous_gradient(y: Tensor) -> Tensor:
    """y, whose gradient will be contiguous: `grouped_mm` refuses an expanded gradient, as `y.sum()` gives it."""
    made: Tensor = _Contiguous.apply(y)  # type: ignore[no-untyped-call]
    return made


def joined(blocks: Sequence[Tensor]) -> Tensor:
    """The outputs of several experts one after the other. Raises RoutingError where their shapes disagree."""
    if len(shapes := {tuple(block.shape[1:]) for block in blocks}) > 1:
        raise RoutingError(f"experts must give outputs of one width, got rows of {sorted(shapes)}")
    return torch.cat(list(blocks))


def inverse(slot_N: Tensor) -> Tensor:
    """The permutation that undoes `slot_N`."""
    return torch.empty_like(slot_N).scatter_(0, slot_N, torch.arange(slot_N.shape[0], device=slot_N.device))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, token_N: Tensor, back_TK: Tensor) -> Tensor:
        ctx.save_for_backward(back_TK)
        return x_TD.index_select(0, token_N)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (back_TK,) = ctx.saved_tensors
        return F.embedding_bag(back_TK, grads[0], mode="sum"), None, None


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_NM: Tensor, to_N: Tensor, back_N: Tensor) -> Tensor:
        ctx.save_for_backward(back_N)
        return rows_NM.index_select(0, to_N)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_NM: Tensor, weights_TK: Tensor, slot_N: Tensor, back_TK: Tensor) -> Tensor:
        ctx.save_for_backward(rows_NM, weights_TK, slot_N, back_TK)
        return F.embedding_bag(back_TK, rows_NM, mode="sum", per_sample_weights=weights_TK)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        rows_NM, weights_TK, slot_N, back_TK = ctx.saved_tensors
        grad_NM = grads[0].index_select(0, slot_N.div(back_TK.shape[1], rounding_mode="floor"))
        of_weights = None
        if ctx.needs_input_grad[1]:
            dot_N = torch.linalg.vecdot(rows_NM, grad_NM)
            of_weights = dot_N.index_select(0, back_TK.reshape(-1)).view_as(weights_TK)
        weight_N1 = weights_TK.reshape(-1).index_select(0, slot_N)[:, None]
        # the gathered gradient is ours alone, so it may be scaled in place unless a second derivative is wanted
        of_rows = grad_NM * weight_N1 if torch.is_grad_enabled() else grad_NM.mul_(weight_N1)
        return of_rows, of_weights, None, None


class _Contiguous(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].contiguous()
