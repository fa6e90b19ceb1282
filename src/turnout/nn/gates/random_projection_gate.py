"""A gate that is not learned: a frozen sparse projection."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number
from turnout.nn._steady import Steady
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["RandomProjectionGate"]


class RandomProjectionGate(Steady, Gate):
    """logits = |A x| with a frozen A [E, D] of density·D Gaussian entries a row, 0 elsewhere: [T, D] → [T, E].

    density·D is rounded and at least 1. Entries have standard deviation `std` (None: 1/E). `signed` leaves out the
    absolute value. A is a buffer drawn from `seed`, saved with the state.

    Source: Zou et al., "FlyLoRA", 2025, and its code, where A is also the down-projection of rank-1 experts and the
    balancing bias is inside the absolute value; here it is the selector's. Limits: nothing to learn, so balance needs
    a bias on the choice.

    >>> gate = RandomProjectionGate(16, 4, density=0.25)
    >>> (gate.matrix_ED != 0).sum(-1).tolist(), sum(p.numel() for p in gate.parameters())
    ([4, 4, 4, 4], 0)
    """

    steady: ClassVar = ("matrix_ED",)
    rules: ClassVar = {
        "width": Number(1, integer=True),
        "experts": Number(1, integer=True),
        "density": Number(0, 1),
        "std": Number(0, optional=True),
        "seed": Number(0, integer=True),
    }

    def __init__(
        self,
        width: int,
        experts: int,
        *,
        density: float = 0.25,
        std: float | None = None,
        signed: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.require(width=width, experts=experts, density=density, std=std, seed=seed)
        self.width, self.experts, self.signed = width, experts, signed
        generator = torch.Generator().manual_seed(seed)
        kept = max(1, round(density * width))
        at_EK = torch.rand(experts, width, generator=generator).topk(kept, dim=-1).indices
        drawn_EK = torch.randn(experts, kept, generator=generator) * (1 / experts if std is None else std)
        self.matrix_ED: Tensor
        self.register_buffer("matrix_ED", torch.zeros(experts, width).scatter(1, at_EK, drawn_EK))

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        logits_TE = x_TD @ self.matrix_ED.float().T
        return logits_TE if self.signed else logits_TE.abs()
