"""Experts of a single neuron: an in-vector and an out-vector each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number, OneOf
from turnout.nn.base import Experts, Segments
from turnout.nn.experts._activations import ACTIVATIONS
from turnout.nn.experts._mixture import mixture

__all__ = ["RankOne"]


class RankOne(Experts):
    """E experts of one neuron, D → O: expert e gives act(u_eᵀx) · v_e, from two tables [E, D] and [E, O].

    With thousands of experts and a product-key gate they are PEER's and OmniMoE's atomic experts; with the activation
    `identity` each is one rank of an adapter, and `zero` starts v at 0 so that a new pool changes nothing. Rows come
    sorted by expert, so each vector is read in one stretch. `grow` adds experts, `prune` keeps some.

    Source: He, "Mixture of A Million Experts" (PEER), 2024; OmniMoE (`flash-algo/omni-moe`). Limits: reading vectors
    dominates, 2·D numbers for 4·D operations.

    >>> import torch
    >>> from turnout.nn import LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 64), TopK(4), RankOne(64, 8))
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    rules: ClassVar = {
        "experts": Number(1, integer=True),
        "width": Number(1, integer=True),
        "out": Number(1, integer=True, optional=True),
        "activation": OneOf(tuple(ACTIVATIONS)),
        "scale": Number(),
    }

    def __init__(
        self,
        experts: int,
        width: int,
        out: int | None = None,
        *,
        activation: str = "gelu",
        zero: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.require(experts=experts, width=width, out=out, activation=activation, scale=scale)
        self.experts, self.width, self.out = experts, width, out or width
        self.activation, self.zero, self.scale = activation, zero, scale
        self.in_ED = nn.Parameter(torch.empty(experts, width))
        self.out_EO = nn.Parameter(torch.empty(experts, self.out))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√D; with `zero` the out-vectors are 0."""
        bound = 1 / math.sqrt(self.width)
        nn.init.uniform_(self.in_ED, -bound, bound)
        nn.init.zeros_(self.out_EO) if self.zero else nn.init.uniform_(self.out_EO, -bound, bound)

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """[N, D] → [N, O]."""
        inner_N1 = (x_ND * segments.pick(self.in_ED).to(x_ND.dtype)).sum(-1, keepdim=True)
        return self.scale * ACTIVATIONS[self.activation](inner_N1) * segments.pick(self.out_EO).to(x_ND.dtype)

    def mixed(self, x_TD: Tensor, weights_TE: Tensor) -> Tensor:
        """Σ_e w_te · expert e of x_t for all experts at once, in two products: [T, O]. For pools of few experts."""
        inner_TE = ACTIVATIONS[self.activation](x_TD @ self.in_ED.t().to(x_TD.dtype))
        return self.scale * ((inner_TE * weights_TE.to(x_TD.dtype)) @ self.out_EO.to(x_TD.dtype))

    def merged(self, weights_GE: Tensor) -> RankOne:
        """G neurons whose two vectors are weighted sums. Weights [G, B, E] mix blocks of both apart."""
        return mixture(self, weights_GE, ("in_ED", "out_EO"), {"in_ED": 1, "out_EO": 1})

    @torch.no_grad()
    def grow(self, experts: int) -> None:
        """Add experts that change nothing yet: fresh in-vectors, out-vectors 0. Make a new optimizer afterwards."""
        bound = 1 / math.sqrt(self.width)
        fresh_ED = self.in_ED.new_empty(experts, self.width).uniform_(-bound, bound)
        self.in_ED = nn.Parameter(torch.cat([self.in_ED, fresh_ED]))
        self.out_EO = nn.Parameter(torch.cat([self.out_EO, self.out_EO.new_zeros(experts, self.out)]))
        self.experts += experts

    @torch.no_grad()
    def prune(self, keep: Sequence[int]) -> None:
        """Keep these experts, in this order. The gate must be cut alike; make a new optimizer afterwards."""
        index = torch.tensor(list(keep), dtype=torch.int64, device=self.in_ED.device)
        self.in_ED = nn.Parameter(self.in_ED.index_select(0, index))
        self.out_EO = nn.Parameter(self.out_EO.index_select(0, index))
        self.experts = len(keep)
