"""Feed-forward experts on a CPU, a block of rows at a time, so that a block never leaves the cache on its way.

A block is gathered, goes through both layers, is weighed and added to its tokens before the next begins. Only the
first layer's output is kept for the backward pass; what follows from it is made again there, in the cache, which is
cheaper than to read it from memory. The weights' gradient needs no kept output: ⟨W h, g⟩ = ⟨h, Wᵀ g⟩.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from turnout.nn._products import USUAL, Products, best, stepped
from turnout.nn.dispatch._segments import operands
from turnout.nn.experts._activations import ACTIVATIONS, BACKWARD

ROWS = 1024  # of a block: with H = 1024 in float32 three hidden buffers of 4 MB


class Rows(NamedTuple):
    """Rows in expert order: the token of each, `sizes` of each expert, and what the experts are."""

    token_N: Tensor
    sizes: tuple[int, ...]
    activation: str
    gated: bool
    products: Products = USUAL

    def blocks(self) -> Iterator[tuple[int, slice, bool]]:
        """Expert, rows, and whether they are the expert's first."""
        end = 0
        for expert, size in enumerate(self.sizes):
            start, end = end, end + size
            for low in range(start, end, ROWS):
                yield expert, slice(low, min(low + ROWS, end)), low == start

    @property
    def most(self) -> int:
        return min(max(self.sizes, default=0), ROWS)

    def padded(self, weight_N: Tensor) -> tuple[Tensor, Rows]:
        """Each expert's rows up to the next step; a row too many is its first one again, and counts nothing."""
        size_E = torch.tensor(self.sizes)
        whole_E = torch.tensor([stepped(size) for size in self.sizes])
        place_P = torch.arange(int(whole_E.sum())) - (whole_E.cumsum(0) - whole_E).repeat_interleave(whole_E)
        own_P = place_P < size_E.repeat_interleave(whole_E)
        row_P = (size_E.cumsum(0) - size_E).repeat_interleave(whole_E) + place_P * own_P
        weight_P = torch.where(own_P, weight_N.index_select(0, row_P), 0)
        return weight_P, self._replace(token_N=self.token_N[row_P], sizes=tuple(whole_E.tolist()))


def blocked_ffn(x_TD: Tensor, weight_N: Tensor, first_EOD: Tensor, down_EMH: Tensor, how: Rows) -> Tensor | None:
    """Σ over rows of weight · down_e(act(first_e x)), of gate_e and up_e halves of `first` where `gated`: [T, M].

    None on a GPU and in a graph that is compiled.
    """
    if x_TD.is_cuda or torch.compiler.is_compiling():
        return None
    x_TD, first_EOD = operands(x_TD, first_EOD)
    how = how._replace(products=best(first_EOD, sum(how.sizes)))
    if how.products is not USUAL:
        weight_N, how = how.padded(weight_N)
    inputs = (x_TD, weight_N.to(x_TD.dtype), first_EOD, down_EMH.to(x_TD.dtype))
    keeps = torch.is_grad_enabled() and any(each.requires_grad for each in inputs)
    y_TM: Tensor = _Blocked.apply(*inputs, (how, keeps))  # type: ignore[no-untyped-call]
    return y_TM


def _plain(inputs: Sequence[Tensor], how: Rows) -> Tensor:
    """The same in differentiable operations, for second derivatives."""
    x_TD, weight_N, first_EOD, down_EMH = inputs
    blocks = torch.split(x_TD.index_select(0, how.token_N), list(how.sizes))
    outputs = []
    for x, first, down in zip(blocks, first_EOD.unbind(0), down_EMH.unbind(0), strict=True):
        pre = F.linear(x, first)
        gate, up = pre.chunk(2, -1) if how.gated else (pre, None)
        hidden = ACTIVATIONS[how.activation](gate)
        outputs.append(F.linear(hidden if up is None else hidden * up, down))
    rows_NM = torch.cat(outputs) * weight_N[:, None]
    return rows_NM.new_zeros(x_TD.shape[0], rows_NM.shape[1]).index_add(0, how.token_N, rows_NM)


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        x_TD, weight_N, first_EOD, down_EMH, (how, keeps) = given
        hidden, act, products = down_EMH.shape[2], ACTIVATIONS[how.activation], how.products
        pre_NO = x_TD.new_empty(weight_N.shape[0] if keeps else how.most, first_EOD.shape[1])
        y_TM: Tensor = x_TD.new_zeros(x_TD.shape[0], down_EMH.shape[1])
        for expert, rows, _ in how.blocks():
            token = how.token_N[rows]
            pre = pre_NO[rows] if keeps else pre_NO[: token.shape[0]]
            products.write(x_TD.index_select(0, token), first_EOD[expert].t(), pre)
            made = act(pre[:, :hidden])
            if how.gated:
                up = pre[:, hidden:]
                made = made * up if how.activation == "identity" else made.mul_(up)  # identity gives back `pre` itself
            y = products.mm(made, down_EMH[expert].t())
            y_TM.index_add_(0, token, y.mul_(weight_N[rows, None]))
        if keeps:
            ctx.save_for_backward(x_TD, weight_N, first_EOD, down_EMH, pre_NO)
            ctx.how = how
        return y_TM

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *inputs, pre_NO = ctx.saved_tensors  # once: activation checkpointing refuses a second look
        if torch.is_grad_enabled():  # a second derivative is wanted
            wanted = [each for each in inputs if each.requires_grad]
            found = iter(torch.autograd.grad(_plain(inputs, ctx.how), wanted, grads[0], create_graph=True))
            return *(next(found) if each.requires_grad else None for each in inputs), None
        return *_gradients(inputs, pre_NO, grads[0], ctx.how, ctx.needs_input_grad), None


def _gradients(
    inputs: Sequence[Tensor], pre_NO: Tensor, grad_TM: Tensor, how: Rows, needs: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    x_TD, weight_N, first_EOD, down_EMH = inputs
    hidden, act, backward = down_EMH.shape[2], ACTIVATIONS[how.activation], BACKWARD[how.activation]
    of_x = torch.zeros_like(x_TD) if needs[0] else None
    of_weight = torch.empty_like(weight_N) if needs[1] else None
    of_first = _stack(first_EOD, how.sizes) if needs[2] else None
    of_down = _stack(down_EMH, how.sizes) if needs[3] else None
    scratch_RO = pre_NO.new_empty(how.most, pre_NO.shape[1])
    for expert, rows, fresh in how.blocks():
        token, weight = how.token_N[rows], weight_N[rows, None]
        grad, pre = grad_TM.index_select(0, token), pre_NO[rows]
        of_hidden, of_pre = how.products.mm(grad, down_EMH[expert]), scratch_RO[: token.shape[0]]
        gate = pre[:, :hidden]
        value = act(gate)
        made = value * pre[:, hidden:] if how.gated else value
        if of_weight is not None:
            torch.linalg.vecdot(of_hidden, made, out=of_weight[rows])
        of_hidden.mul_(weight)
        if how.gated:
            torch.mul(of_hidden, value, out=of_pre[:, hidden:])
            of_hidden.mul_(pre[:, hidden:])
        backward(of_hidden, gate, of_pre[:, :hidden])
        if of_down is not None:
            how.products.write(grad.mul_(weight).t(), made, of_down[expert], add=not fresh)
        if of_first is not None:
            how.products.write(of_pre.t(), x_TD.index_select(0, token), of_first[expert], add=not fresh)
        if of_x is not None:
            of_x.index_add_(0, token, how.products.mm(of_pre, first_EOD[expert]))
    return of_x, of_weight, of_first, of_down


def _stack(weight: Tensor, sizes: Sequence[int]) -> Tensor:
    """Room for a gradient; 0 for experts without rows."""
    made = torch.empty_like(weight, memory_format=torch.contiguous_format)
    for expert, size in enumerate(sizes):
        if not size:
            made[expert].zero_()
    return made
