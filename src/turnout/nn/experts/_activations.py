"""Activations by name, and their derivatives for the hand-written network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

aten = torch.ops.aten


def _relu_squared(x: Tensor) -> Tensor:
    return nn.functional.relu(x).square()


def _identity(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "relu2": _relu_squared,
    "identity": _identity,
}


def _relu_squared_backward(grad: Tensor, x: Tensor, out: Tensor) -> Tensor:
    return torch.mul(grad, nn.functional.relu(x), out=out).mul_(2)


# (gradient of the value, x, where to) → gradient of x
BACKWARD: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "silu": lambda grad, x, out: aten.silu_backward.grad_input(grad, x, grad_input=out),
    "gelu": lambda grad, x, out: aten.gelu_backward.grad_input(grad, x, grad_input=out),
    "relu": lambda grad, x, out: aten.threshold_backward.grad_input(grad, x, 0, grad_input=out),
    "relu2": _relu_squared_backward,
    "identity": lambda grad, _, out: out.copy_(grad),
}


def glu(first_NO: Tensor, activation: str) -> Tensor:
    """act(gate) · up of rows that hold both halves, the gate first: [N, 2H] → [N, H]."""
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and first_NO.requires_grad):
        return _glu(first_NO, activation)
    made: Tensor = _Glu.apply(first_NO, activation)  # type: ignore[no-untyped-call]
    return made


def _glu(first_NO: Tensor, activation: str) -> Tensor:
    gate_NH, up_NH = first_NO.chunk(2, dim=-1)
    return ACTIVATIONS[activation](gate_NH) * up_NH


class _Glu(torch.autograd.Function):
    """The gradients of both halves are written where they belong; autograd makes two and copies them into a third."""

    @staticmethod
    def forward(ctx: Any, first_NO: Tensor, activation: str) -> Tensor:
        gate_NH, up_NH = first_NO.chunk(2, dim=-1)
        value_NH = ACTIVATIONS[activation](gate_NH)
        ctx.save_for_backward(first_NO, value_NH)
        ctx.activation = activation
        return value_NH * up_NH

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        first_NO, value_NH = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            return *torch.autograd.grad(_glu(first_NO, ctx.activation), first_NO, grads[0], create_graph=True), None
        of_first_NO = torch.empty_like(first_NO)
        gate_NH, up_NH = first_NO.chunk(2, dim=-1)
        of_gate_NH, of_up_NH = of_first_NO.chunk(2, dim=-1)
        torch.mul(grads[0], value_NH, out=of_up_NH)
        torch.mul(grads[0], up_NH, out=of_gate_NH)
        BACKWARD[ctx.activation](of_gate_NH, gate_NH, of_gate_NH)
        return of_first_NO, None
