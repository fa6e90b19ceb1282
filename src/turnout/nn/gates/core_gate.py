"""A gate that scores in the small space its experts share."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from turnout.base import Of
from turnout.nn.base import Gate
from turnout.nn.experts.core_lora import CoreLoRA
from turnout.nn.plan import RoutingContext

__all__ = ["CoreGate"]


class CoreGate(Gate):
    """logits = W V x with the pool's own V [R, D] and W [E, R]: [T, D] → [T, E].

    E·R numbers instead of E·D. `pool` is the layer's own; the gate refers to it without owning it, so it is saved once.

    Source: Cao et al., "CoMoL: Efficient Mixture of LoRA Experts via Dynamic Core Space Merging", 2026. Limits: sees
    only what the experts' shared projection keeps.

    >>> import torch
    >>> from turnout.nn import RoutedLayer, Soft
    >>> pool = CoreLoRA(4, 8, rank=2)
    >>> layer = RoutedLayer(CoreGate(pool), Soft(), pool)
    >>> tuple(layer(torch.randn(3, 8)).output.shape), sum(p.numel() for p in layer.gate.parameters())
    ((3, 8), 8)
    """

    rules: ClassVar = {"pool": Of((CoreLoRA,))}

    def __init__(self, pool: CoreLoRA) -> None:
        super().__init__()
        self.require(pool=pool)
        self.experts = pool.experts
        self.linear = nn.Linear(pool.rank, pool.experts, bias=False)
        self._pool = (pool,)  # in a tuple the pool is no submodule

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        logits_TE: Tensor = nn.functional.linear(self._pool[0].inner(x_TD).float(), self.linear.weight.float())
        return logits_TE
