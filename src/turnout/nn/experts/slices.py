"""A dense network cut into experts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.experts.ffn import FFN

__all__ = ["Slices"]


class Slices(FFN):
    """E slices of one FFN's hidden units, H/E each: all of them with weight 1 are the dense network, exactly.

    `of` cuts given weights, by `groups` of hidden units where units that fire together shall stay together. The
    constructor makes a fresh network of `hidden` units in all.

    Source: Union-of-Experts (`YujiaoYang-work/UoE`); Zhang et al., "MoEfication", 2022. Limits: E must divide H.

    >>> dense = torch.nn.Sequential(torch.nn.Linear(8, 12, bias=False), torch.nn.ReLU(),
    ...                             torch.nn.Linear(12, 8, bias=False))
    >>> pool = Slices.of(dense[0].weight, dense[2].weight, experts=3, activation="relu", gated=False)
    >>> tuple(pool.up_proj.shape), tuple(pool.down_proj.shape)
    ((3, 4, 8), (3, 8, 4))
    """

    def __init__(self, experts: int, width: int, hidden: int, *, activation: str = "silu", gated: bool = True) -> None:
        self.require(experts=experts, hidden=hidden)
        if hidden % experts:
            raise RoutingError(f"Slices: experts must divide the hidden units, got {experts} of {hidden}")
        super().__init__(experts, width, hidden // experts, activation=activation, gated=gated)

    @classmethod
    def of(
        cls,
        first: Tensor,
        down_DH: Tensor,
        experts: int,
        *,
        activation: str = "silu",
        gated: bool = True,
        groups: Sequence[Sequence[int]] | None = None,
    ) -> Slices:
        """Cut a dense network: `first` is [H, D], or [2H, D] with the gate first; `down_DH` its second matrix.

        `groups` names the hidden units of each expert. Raises RoutingError for groups of unequal size.
        """
        hidden = down_DH.shape[1]
        pool = cls(experts, first.shape[1], hidden, activation=activation, gated=gated)
        units = torch.arange(hidden).view(experts, -1) if groups is None else _equal(groups, hidden)
        if units.shape[0] != experts:
            raise RoutingError(f"Slices: got {units.shape[0]} groups for {experts} experts")
        with torch.no_grad():
            halves = first.view(-1, hidden, first.shape[1])[:, units.to(first.device)]  # [1 or 2, E, H/E, D]
            pool._first.copy_(halves.movedim(0, 1).flatten(1, 2))
            pool.down_proj.copy_(down_DH[:, units.to(down_DH.device)].movedim(1, 0))
        return pool.to(first)


def _equal(groups: Sequence[Sequence[int]], hidden: int) -> Tensor:
    if len({len(group) for group in groups}) != 1 or sorted(chain(*groups)) != list(range(hidden)):
        raise RoutingError(f"Slices: groups must part the {hidden} hidden units into equal shares")
    return torch.tensor([list(group) for group in groups])
