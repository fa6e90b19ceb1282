"""Activations by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


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
