"""Low-rank adapters as experts, stacked in three dimensions."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number
from turnout.nn.base import Experts, Segments
from turnout.nn.experts._mixture import mixture

__all__ = ["LoRA"]


class LoRA(Experts):
    """E low-rank maps D → O: expert e adds alpha/rank · B_e A_e x. B starts at 0, so a new expert changes nothing.

    `lora_A` is [E, R, D] and `lora_B` [E, O, R]: expert e is PEFT's `lora_A.weight` and `lora_B.weight`. Merging in
    weight space mixes A and B each (Poly, MHR), which is not the mean of the products; `delta` gives a product.

    Source: Hu et al., "LoRA", 2021. Limits: one rank for all; a smaller adapter is padded with zeros.

    >>> pool = LoRA(4, 8, 6, rank=2)
    >>> tuple(pool.lora_A.shape), tuple(pool.lora_B.shape), tuple(pool.delta(0).shape)
    ((4, 2, 8), (4, 6, 2), (6, 8))
    """

    rules: ClassVar = {
        "experts": Number(1, integer=True),
        "width": Number(1, integer=True),
        "out": Number(1, integer=True, optional=True),
        "rank": Number(1, integer=True),
        "alpha": Number(0),
    }

    def __init__(self, experts: int, width: int, out: int | None = None, *, rank: int = 8, alpha: float = 16.0) -> None:
        super().__init__()
        self.require(experts=experts, width=width, out=out, rank=rank, alpha=alpha)
        self.experts, self.width, self.out, self.rank, self.alpha = experts, width, out or width, rank, alpha
        self.lora_A = nn.Parameter(torch.empty(experts, rank, width))
        self.lora_B = nn.Parameter(torch.empty(experts, self.out, rank))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A uniform in ±1/√D as in PEFT, B zero."""
        bound = 1 / math.sqrt(self.width)
        nn.init.uniform_(self.lora_A, -bound, bound)
        nn.init.zeros_(self.lora_B)

    @property
    def scaling(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """[N, D] → [N, O]."""
        return self.scaling * segments.linear(segments.linear(x_ND, self.lora_A), self.lora_B)

    def mixed(self, x_TD: Tensor, weights_TE: Tensor) -> Tensor:
        """Σ_e w_te · expert e of x_t for all experts at once, in two products of rank E·R: [T, O]."""
        inner_TX = F.linear(x_TD, self.lora_A.flatten(0, 1).to(x_TD.dtype))
        weighted_TER = inner_TX.view(-1, self.experts, self.rank) * weights_TE.to(x_TD.dtype)[..., None]
        up_XO = self.lora_B.transpose(1, 2).flatten(0, 1).to(x_TD.dtype)
        return self.scaling * (weighted_TER.flatten(1) @ up_XO)

    def delta(self, expert: int) -> Tensor:
        """The matrix [O, D] that one expert adds."""
        return self.scaling * (self.lora_B[expert] @ self.lora_A[expert])

    def merged(self, weights_GE: Tensor) -> LoRA:
        """G adapters whose A and B are weighted sums; differentiable in the weights and in the experts.

        Weights [G, B, E] cut A's inputs and B's outputs into blocks that are mixed apart (multi-head routing).
        """
        return mixture(self, weights_GE, ("lora_A", "lora_B"), {"lora_A": 2, "lora_B": 1})
