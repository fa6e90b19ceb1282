"""Activations by name, and their derivatives for the hand-written network."""

from __future__ import annotations

from collections.abc import Callable

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
