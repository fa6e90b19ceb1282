"""One adapter whose rows are picks from a store that the whole network shares."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number
from turnout.errors import ParameterError
from turnout.nn.base import Experts, Segments

__all__ = ["Shards"]


class Shards(Experts):
    """D → O of rank R, assembled from shards: a row of A is D/`length` picks, a column of B O/`length` picks.

    `store` holds the shards [count, length] of A and of B, one parameter each, and is shared by every layer that is
    given it: `Shards.store(count, length)` makes one. Picks are drawn once from `seed` and fixed; A and B are picked
    apart (pair dissociation). `private` shards of each belong to this layer alone and are always picked. B starts at 0.

    Source: Wang et al., "MoS: Unleashing Parameter Efficiency of Low-Rank Adaptation with Mixture of Shards", 2024.
    Limits: one expert; what two layers share, both train.

    >>> store = Shards.store(12, 4)
    >>> first, second = Shards(8, 8, store=store, rank=2), Shards(8, 16, store=store, rank=2, seed=1)
    >>> sum(p.numel() for p in {*first.parameters(), *second.parameters()})
    96
    >>> tuple(second.delta(0).shape)
    (16, 8)
    """

    rules: ClassVar = {
        "width": Number(1, integer=True),
        "out": Number(1, integer=True, optional=True),
        "rank": Number(1, integer=True),
        "alpha": Number(0),
        "private": Number(0, integer=True),
        "seed": Number(0, integer=True),
    }
    experts = 1

    def __init__(
        self,
        width: int,
        out: int | None = None,
        *,
        store: nn.ParameterDict,
        rank: int = 8,
        alpha: float = 16.0,
        private: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.require(width=width, out=out, rank=rank, alpha=alpha, private=private, seed=seed)
        self.width, self.out, self.rank, self.alpha = width, out or width, rank, alpha
        self.shared = store
        count, length = store["A"].shape
        if width % length or self.out % length:
            raise ParameterError(f"Shards: shards of {length} do not divide a layer of {width} → {self.out}")
        generator = torch.Generator().manual_seed(seed)
        self.own = nn.ParameterDict({"A": _fresh(private, length, width), "B": torch.zeros(private, length)})
        for side, size in (("A", width), ("B", self.out)):
            wanted = rank * size // length
            if private > wanted:
                raise ParameterError(f"Shards: {private} private shards, the layer has room for {wanted}")
            picks = torch.randint(count, (wanted,), generator=generator)
            at = torch.randperm(wanted, generator=generator)[:private]
            picks[at] = count + torch.arange(private)
            self.register_buffer(f"pick_{side}", picks)

    @staticmethod
    def store(count: int, length: int) -> nn.ParameterDict:
        """Shards for several layers: A uniform in ±1/√(8·length), B zero."""
        return nn.ParameterDict({"A": _fresh(count, length, 8 * length), "B": torch.zeros(count, length)})

    @property
    def scaling(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def matrices(self) -> tuple[Tensor, Tensor]:
        """A [R, D] and B [O, R] as assembled now."""
        sides = []
        for side in ("A", "B"):
            shards = torch.cat([self.shared[side], self.own[side]])
            sides.append(shards.index_select(0, getattr(self, f"pick_{side}")).view(self.rank, -1))
        return sides[0], sides[1].T

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """[N, D] → [N, O]."""
        a_RD, b_OR = self.matrices()
        return self.scaling * segments.linear(segments.linear(x_ND, a_RD[None]), b_OR[None].contiguous())

    def mixed(self, x_TD: Tensor, weights_TE: Tensor) -> Tensor:
        """The one adapter, weighed: [T, O]."""
        a_RD, b_OR = (side.to(x_TD.dtype) for side in self.matrices())
        y_TO: Tensor = self.scaling * weights_TE.to(x_TD.dtype) * (x_TD @ a_RD.T @ b_OR.T)
        return y_TO

    def delta(self, expert: int) -> Tensor:
        """The matrix [O, D] that it adds."""
        a_RD, b_OR = self.matrices()
        return self.scaling * (b_OR @ a_RD)


def _fresh(count: int, length: int, width: int) -> Tensor:
    bound = 1 / math.sqrt(width)
    return torch.empty(count, length).uniform_(-bound, bound)
