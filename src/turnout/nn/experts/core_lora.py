"""Adapters that share their outer matrices and differ in a small core."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number
from turnout.nn.base import Experts, Segments
from turnout.nn.experts._mixture import mixture

__all__ = ["CoreLoRA"]


class CoreLoRA(Experts):
    """E adapters D → O: expert e adds alpha/rank · U M_e V x with U [O, R] and V [R, D] shared, M_e [R, R] its own.

    Merging in weight space mixes the cores only, which is exact: the sum of outputs is the output of the mixed core.
    A token then costs one adapter whatever E is. V x is computed once per token (`prepare`). U starts at 0, cores at
    the identity with a little noise.

    Source: Cao et al., "CoMoL: Efficient Mixture of LoRA Experts via Dynamic Core Space Merging", 2026; how cores start
    is ours. Limits: all experts write into one R-dimensional space.

    >>> from turnout.nn import LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), CoreLoRA(4, 8, 6, rank=2))
    >>> tuple(layer(torch.randn(3, 8)).output.shape), layer.experts.inner(torch.randn(3, 8)).shape[1]
    ((3, 6), 2)
    """

    rules: ClassVar = {
        "experts": Number(1, integer=True),
        "width": Number(1, integer=True),
        "out": Number(1, integer=True, optional=True),
        "rank": Number(1, integer=True),
        "alpha": Number(0),
        "noise": Number(0),
    }

    def __init__(
        self,
        experts: int,
        width: int,
        out: int | None = None,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        noise: float = 0.02,
    ) -> None:
        super().__init__()
        self.require(experts=experts, width=width, out=out, rank=rank, alpha=alpha, noise=noise)
        self.experts, self.width, self.out = experts, width, out or width
        self.rank, self.alpha, self.noise = rank, alpha, noise
        self.lora_A = nn.Parameter(torch.empty(rank, width))
        self.lora_B = nn.Parameter(torch.empty(self.out, rank))
        self.core = nn.Parameter(torch.empty(experts, rank, rank))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """V uniform in ±1/√D, U zero, cores the identity plus noise."""
        bound = 1 / math.sqrt(self.width)
        nn.init.uniform_(self.lora_A, -bound, bound)
        nn.init.zeros_(self.lora_B)
        with torch.no_grad():
            self.core.normal_(0, self.noise).add_(torch.eye(self.rank))

    @property
    def scaling(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def inner(self, x_TD: Tensor) -> Tensor:
        """V x, [T, R]: what a gate in core space scores by."""
        return F.linear(x_TD, self.lora_A.to(x_TD.dtype))

    def prepare(self, x_TD: Tensor) -> Tensor:
        """V x once per token."""
        return self.inner(x_TD)

    def forward(self, x_NR: Tensor, segments: Segments) -> Tensor:
        """Prepared rows [N, R] → [N, O]."""
        core_NR = segments.linear(x_NR, self.core)
        return self.scaling * F.linear(core_NR, self.lora_B.to(core_NR.dtype))

    def mixed(self, x_TD: Tensor, weights_TE: Tensor) -> Tensor:
        """Σ_e w_te · expert e of x_t for all experts at once: [T, O]."""
        inner_TR = self.inner(x_TD)
        core_TRR = (weights_TE.to(x_TD.dtype) @ self.core.flatten(1).to(x_TD.dtype)).view(-1, self.rank, self.rank)
        core_TR = torch.bmm(core_TRR, inner_TR[..., None])[..., 0]
        return self.scaling * F.linear(core_TR, self.lora_B.to(x_TD.dtype))

    def delta(self, expert: int) -> Tensor:
        """The matrix [O, D] that one expert adds."""
        return self.scaling * (self.lora_B @ self.core[expert] @ self.lora_A)

    def merged(self, weights_GE: Tensor) -> CoreLoRA:
        """G adapters whose cores are weighted sums."""
        return mixture(self, weights_GE, ("core",))
