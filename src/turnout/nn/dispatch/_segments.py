"""Ways to multiply each row by its own expert's matrix, and the sorting that puts rows in expert order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from turnout.nn.base import Segments
from turnout.nn.plan import Plan

ALIGNMENT = 16  # bytes; `grouped_mm` refuses rows that do not start on it


@dataclass(frozen=True)
class Order:
    """Slots of a plan in expert order: `slot_N` are positions t·K + k, `token_N` their tokens, `counts_E` the rows."""

    slot_N: Tensor
    token_N: Tensor
    expert_N: Tensor
    counts_E: Tensor

    @classmethod
    def of(cls, plan: Plan) -> Order:
        """A stable sort by expert; empty slots sort last and are left out."""
        flat = plan.idx_TK.reshape(-1)
        order = flat.argsort(stable=True)
        counts_E = plan.counts_E
        if not plan.full:
            order = order[: int(counts_E.sum())]
        return cls(order, order.div(plan.k, rounding_mode="floor"), flat.index_select(0, order), counts_E)

    @property
    def ends_E(self) -> Tensor:
        """Where each expert's rows end, int32."""
        return self.counts_E.cumsum(0).to(torch.int32)


class _Contiguous(torch.autograd.Function):
    """Identity whose gradient is contiguous: `grouped_mm` refuses an expanded gradient, as `y.sum()` gives it."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0].contiguous()


def contiguous_gradient(y: Tensor) -> Tensor:
    """y, whose gradient will be contiguous."""
    made: Tensor = _Contiguous.apply(y)  # type: ignore[no-untyped-call]
    return made


def blocks(x_NI: Tensor, counts_E: Tensor) -> Sequence[Tensor]:
    """The rows of each expert apart."""
    return torch.split(x_NI, counts_E.tolist())


def aligned(width: int, dtype: torch.dtype) -> bool:
    """Whether rows of this width are what `grouped_mm` takes."""
    return width * dtype.itemsize % ALIGNMENT == 0


class GroupedSegments(Segments):
    """torch's `grouped_mm`: one call, one stacked weight gradient; falls back to a loop for odd widths."""

    def __init__(self, order: Order) -> None:
        self.expert_N, self._ends, self._counts_E = order.expert_N, order.ends_E, order.counts_E

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        if not (aligned(weight_EOI.shape[-1], x_NI.dtype) and aligned(weight_EOI.shape[-2], x_NI.dtype)):
            return loop_linear(x_NI, weight_EOI, self._counts_E)
        y_NO: Tensor = F.grouped_mm(x_NI, weight_EOI.to(x_NI.dtype).transpose(1, 2), offs=self._ends)
        return contiguous_gradient(y_NO)

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        return blocks(x_NI, self._counts_E)


class LoopSegments(Segments):
    """One matrix product per expert over a split of the rows."""

    def __init__(self, order: Order) -> None:
        self.expert_N, self._counts_E = order.expert_N, order.counts_E

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        return loop_linear(x_NI, weight_EOI, self._counts_E)

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        return blocks(x_NI, self._counts_E)


class UniformSegments(Segments):
    """Every expert has the same number of rows: one batched product."""

    def __init__(self, experts: int, rows: int, device: torch.device) -> None:
        self._experts, self._rows = experts, rows
        self.expert_N = torch.arange(experts, device=device).repeat_interleave(rows)

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        x_ERI = x_NI.view(self._experts, self._rows, x_NI.shape[-1])
        y_ERO = torch.bmm(x_ERI, weight_EOI.to(x_NI.dtype).transpose(1, 2))
        return y_ERO.reshape(-1, weight_EOI.shape[1])

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        return x_NI.view(self._experts, self._rows, x_NI.shape[-1]).unbind(0)


class RowSegments(Segments):
    """Each row by itself, reading only its own expert's weights: for decoding a handful of tokens."""

    def __init__(self, order: Order) -> None:
        self.expert_N = order.expert_N
        self._chosen = order.expert_N.tolist()
        self._counts_E = order.counts_E

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        weights = weight_EOI.unbind(0)  # indexing a stacked parameter would allocate [E, …] zeros per gradient
        if not self._chosen:
            return x_NI.new_zeros(0, weight_EOI.shape[1]) + 0 * weight_EOI.sum().to(x_NI.dtype)
        return torch.stack([F.linear(x, weights[e].to(x.dtype)) for x, e in zip(x_NI, self._chosen, strict=True)])

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        return blocks(x_NI, self._counts_E)


def loop_linear(x_NI: Tensor, weight_EOI: Tensor, counts_E: Tensor) -> Tensor:
    """The segment loop; `unbind` keeps autograd from allocating a full [E, O, I] gradient per expert."""
    weights = weight_EOI.to(x_NI.dtype).unbind(0)
    return torch.cat([F.linear(x, w) for x, w in zip(blocks(x_NI, counts_E), weights, strict=True)])
