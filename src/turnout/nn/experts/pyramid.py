"""Adapters that share what they read and write it back at different scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number
from turnout.errors import ParameterError
from turnout.nn.base import Experts, Segments

__all__ = ["Pyramid"]


class Pyramid(Experts):
    """One expert per scale, D → O: expert e gives alpha/rank · repeat(B_e A x, scale_e), A [R, D] shared by all.

    B_e is [O/scale, R]: an output of a coarse expert is repeated over `scale` neighbours, so it has that many fewer
    numbers. A x is computed once per token (`prepare`). B starts at 0. As matrices (`delta`) they merge.

    Source: "Expert Pyramid Tuning", 2026, read as a summary. Deviation: an expert has a matrix B_e of its own,
    repeated; there it has a kernel of size `scale` that expands one shared product B A in both directions. Limits:
    neighbours of an output are what the layer's numbering makes neighbours.

    >>> pool = Pyramid(8, 8, scales=(1, 2, 4), rank=2)
    >>> pool.experts, sum(p.numel() for p in pool.parameters())
    (3, 44)
    """

    rules: ClassVar = {
        "width": Number(1, integer=True),
        "out": Number(1, integer=True, optional=True),
        "rank": Number(1, integer=True),
        "alpha": Number(0),
    }

    def __init__(
        self,
        width: int,
        out: int | None = None,
        *,
        scales: Sequence[int] = (1, 2, 4, 8),
        rank: int = 8,
        alpha: float = 16.0,
    ) -> None:
        super().__init__()
        self.require(width=width, out=out, rank=rank, alpha=alpha)
        self.width, self.out, self.rank, self.alpha, self.scales = width, out or width, rank, alpha, tuple(scales)
        if not self.scales or any(scale < 1 or self.out % scale for scale in self.scales):
            raise ParameterError(f"Pyramid: every scale must divide the output width {self.out}, got {self.scales}")
        self.experts = len(self.scales)
        bound = 1 / math.sqrt(width)
        self.lora_A = nn.Parameter(torch.empty(rank, width).uniform_(-bound, bound))
        self.lora_B = nn.ParameterList(torch.zeros(self.out // scale, rank) for scale in self.scales)

    @property
    def scaling(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def up(self) -> Tensor:
        """Every expert's B at full width: [E, O, R]."""
        found = [b.repeat_interleave(scale, 0) for b, scale in zip(self.lora_B, self.scales, strict=True)]
        return torch.stack(found)

    def prepare(self, x_TD: Tensor) -> Tensor:
        """A x once per token."""
        return F.linear(x_TD, self.lora_A.to(x_TD.dtype))

    def forward(self, x_NR: Tensor, segments: Segments) -> Tensor:
        """Prepared rows [N, R] → [N, O]."""
        return self.scaling * segments.linear(x_NR, self.up())

    def mixed(self, x_TD: Tensor, weights_TE: Tensor) -> Tensor:
        """Σ_e w_te · expert e of x_t for all experts at once: [T, O]."""
        inner_TR = self.prepare(x_TD)
        weighted_TER = weights_TE.to(x_TD.dtype)[..., None] * inner_TR[:, None]
        up_XO = self.up().transpose(1, 2).flatten(0, 1).to(x_TD.dtype)
        return self.scaling * (weighted_TER.flatten(1) @ up_XO)

    def delta(self, expert: int) -> Tensor:
        """The matrix [O, D] that one expert adds."""
        return self.scaling * (self.up()[expert] @ self.lora_A)
