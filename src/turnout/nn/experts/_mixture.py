"""Pools mixed in weight space: the same kind of pool with weighted sums where its stacks were."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.base import Experts

P = TypeVar("P", bound=Experts)


def mixture(pool: P, weights: Tensor, names: Sequence[str], blocks: Mapping[str, int] | None = None) -> P:
    """The pool with G experts, one per row of `weights` [G, E]; differentiable in the weights and in the experts.

    Weights [G, B, E] mix B blocks apart, each stack cut along the dimension that `blocks` says. What is not named is
    shared with the pool. Raises RoutingError for other shapes, or blocks that do not divide.
    """
    if weights.ndim not in (2, 3) or weights.shape[-1] != pool.experts:
        said = f"{type(pool).__name__}: weights to merge by must be [G, {pool.experts}]"
        raise RoutingError(f"{said}, or [G, B, {pool.experts}] for blocks, got {tuple(weights.shape)}")
    if weights.ndim == 3 and blocks is None:
        raise RoutingError(f"{type(pool).__name__} has no blocks to mix apart, got weights {tuple(weights.shape)}")
    made = copy.copy(pool)
    made._parameters = {name: found for name, found in pool._parameters.items() if name not in names}
    made.experts = weights.shape[0]
    for name in names:
        stack: Tensor = getattr(pool, name)
        setattr(made, name, _summed(stack, weights.to(stack.dtype), None if blocks is None else blocks[name]))
    return made


def _summed(stack: Tensor, weights: Tensor, dim: int | None) -> Tensor:
    if weights.ndim == 2:
        return (weights @ stack.flatten(1)).view(-1, *stack.shape[1:])
    assert dim is not None
    count = weights.shape[1]
    if stack.shape[dim] % count:
        raise RoutingError(f"{count} blocks do not divide a width of {stack.shape[dim]}")
    cut = stack.reshape(*stack.shape[:dim], count, -1, *stack.shape[dim + 1 :]).movedim(dim, 1)  # [E, B, …]
    mixed = torch.einsum("gbe,eb...->gb...", weights, cut)
    return mixed.movedim(1, dim).flatten(dim, dim + 1)
