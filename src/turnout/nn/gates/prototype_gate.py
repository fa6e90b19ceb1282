"""Cosine to one prototype per expert; prototypes learn by gradient or follow their tokens as k-means does."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number, OneOf
from turnout.nn._steady import Steady, drained, tallied
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["PrototypeGate"]

SHARPEST = 100.0


class PrototypeGate(Steady, Gate):
    """logits = cos(x, prototype_e) / temperature: [T, D] → [T, E].

    `projection` first maps x to that many dimensions; `learned_temperature` trains 1/temperature, capped at 100.
    `PrototypeGate(D, E, projection=256, temperature=0.5, learned_temperature=True)` is Tutel's cosine gate, the plain
    one is ProMoE's. With `update="ema"` prototypes take no gradient: each training forward adds its tokens to their
    nearest prototype, and `update_biases(model)` moves prototypes towards those means once per optimizer step, by
    1 − momentum, over all replicas; a prototype without tokens stays. Padding is not counted, nor is a recomputed
    pass, nor evaluation.

    Source: Routing Transformer (Roy et al., 2021; momentum 0.999); Tutel (`cosine_top`); ProMoE. Limits: length of x
    is thrown away; with `ema` a dead prototype stays dead unless its start was good.

    >>> gate = PrototypeGate(4, 2, update="ema", momentum=0.0)
    >>> gate.prototypes.copy_(torch.eye(4)[:2]).shape
    torch.Size([2, 4])
    >>> logits_TE, _ = gate(torch.tensor([[2.0, 0.0, 1.0, 0.0]]))
    >>> [round(z, 3) for z in logits_TE[0].tolist()]
    [0.894, 0.0]
    >>> gate.after_step(), [round(z, 3) for z in gate.prototypes[0].tolist()]
    (True, [0.894, 0.0, 0.447, 0.0])
    """

    steady: ClassVar = ("prototypes",)
    rules: ClassVar = {
        "width": Number(1, integer=True),
        "experts": Number(1, integer=True),
        "temperature": Number(1e-6),
        "projection": Number(1, integer=True, optional=True),
        "update": OneOf(("gradient", "ema")),
        "momentum": Number(0, 1),
    }

    def __init__(
        self,
        width: int,
        experts: int,
        *,
        temperature: float = 1.0,
        learned_temperature: bool = False,
        projection: int | None = None,
        update: str = "gradient",
        momentum: float = 0.999,
    ) -> None:
        super().__init__()
        self.require(width=width, experts=experts, temperature=temperature, projection=projection)
        self.require(update=update, momentum=momentum)
        self.width, self.experts, self.update, self.momentum = width, experts, update, momentum
        self.projection = None if projection is None else nn.Linear(width, projection, bias=False)
        start = F.normalize(torch.randn(experts, projection or width), dim=-1)
        log_scale = torch.tensor(-math.log(temperature))
        self.log_scale: Tensor
        if learned_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.prototypes: Tensor
        if update == "gradient":
            self.prototypes = nn.Parameter(start)
            return
        self.register_buffer("prototypes", start)
        self.sums_ED, self.counts_E = torch.zeros_like(start), torch.zeros(experts)

    @property
    def rows_ED(self) -> Tensor:
        """The prototypes, [E, D] or [E, projection]."""
        return self.prototypes

    def project(self, x_TD: Tensor) -> Tensor:
        """x in the space of the prototypes."""
        return x_TD if self.projection is None else F.linear(x_TD, self.projection.weight.float())

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        unit_TD = F.normalize(self.project(x_TD), dim=-1)
        cosine_TE = unit_TD @ F.normalize(self.prototypes.float(), dim=-1).T
        if self.update == "ema" and self.training:
            self._gather(unit_TD.detach(), cosine_TE.detach(), context)
        return cosine_TE * self.log_scale.float().clamp(max=math.log(SHARPEST)).exp()

    def _gather(self, unit_TD: Tensor, cosine_TE: Tensor, context: RoutingContext) -> None:
        if context.mask_T is not None:
            unit_TD, cosine_TE = unit_TD[context.mask_T], cosine_TE[context.mask_T]
        nearest_T = cosine_TE.argmax(-1)
        none_ED = torch.zeros_like(self.sums_ED, device=unit_TD.device)
        self.sums_ED = tallied(self.sums_ED, none_ED.index_add(0, nearest_T, unit_TD))
        self.counts_E = tallied(self.counts_E, nearest_T.bincount(minlength=self.experts))

    @torch.no_grad()
    def after_step(self) -> bool:
        """One k-means step from the tokens gathered since the last; False where there were none."""
        if self.update != "ema":
            return False
        sums_ED, self.sums_ED = drained(self.sums_ED, self.prototypes)
        counts_E, self.counts_E = drained(self.counts_E, self.prototypes)
        mean_ED = F.normalize(sums_ED / counts_E.clamp_min(1)[:, None], dim=-1)
        blended_ED = F.normalize(self.momentum * self.prototypes + (1 - self.momentum) * mean_ED, dim=-1)
        self.prototypes.copy_(torch.where(counts_E[:, None] > 0, blended_ED, self.prototypes))
        return bool(counts_E.any())
