"""The segment loop as one operator, for graphs: `grouped_mm` has no shape rule for float32 on a CPU when traced.

An exported program that contains `turnout::segment_mm` needs this module imported where it runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from turnout.nn._products import best


@torch.library.custom_op("turnout::segment_mm", mutates_args=())
def segment_mm(x_NI: Tensor, weight_EOI: Tensor, counts_E: Tensor) -> Tensor:
    """x @ weight[e]ᵀ for rows in expert order, `counts_E` of each: [N, O]."""
    y_NO = x_NI.new_empty(x_NI.shape[0], weight_EOI.shape[1])
    products = best(weight_EOI, x_NI.shape[0])
    for expert, rows in _segments(counts_E):
        if rows.stop - rows.start == 1:
            torch.mv(weight_EOI[expert], x_NI[rows.start], out=y_NO[rows.start])
        else:
            products.write(products.filled(x_NI[rows]), weight_EOI[expert].t(), y_NO[rows])
    return y_NO


@torch.library.custom_op("turnout::segment_mm_backward", mutates_args=())
def segment_mm_backward(grad_NO: Tensor, x_NI: Tensor, weight_EOI: Tensor, counts_E: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the rows and of the weights."""
    of_x, of_weight = torch.empty_like(x_NI), torch.zeros_like(weight_EOI)
    products = best(weight_EOI, x_NI.shape[0])
    for expert, rows in _segments(counts_E):
        grad = products.filled(grad_NO[rows])
        products.write(grad, weight_EOI[expert], of_x[rows])
        products.write(grad.t(), products.filled(x_NI[rows]), of_weight[expert])
    return of_x, of_weight


def _segments(counts_E: Tensor) -> list[tuple[int, slice]]:
    found, end = [], 0
    for expert, count in enumerate(counts_E.tolist()):
        start, end = end, end + count
        if count:
            found.append((expert, slice(start, end)))
    return found


def _shape(x_NI: Tensor, weight_EOI: Tensor, *_: Tensor) -> Tensor:
    return x_NI.new_empty(x_NI.shape[0], weight_EOI.shape[1])


def _shapes(_: Tensor, x_NI: Tensor, weight_EOI: Tensor, *__: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x_NI), torch.empty_like(weight_EOI)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001 torch passes it by name
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor, Tensor, None]:
    of_x, of_weight = segment_mm_backward(grad_NO, *ctx.saved_tensors)
    return of_x, of_weight, None


segment_mm.register_fake(_shape)
segment_mm_backward.register_fake(_shapes)
segment_mm.register_autograd(_backward, setup_context=_save)
