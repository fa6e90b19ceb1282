"""Experts of rank one that choose themselves by how strongly they answer."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from turnout.base import Number, Of
from turnout.nn.base import Gate
from turnout.nn.experts.rank_one import RankOne
from turnout.nn.plan import RoutingContext

__all__ = ["ActivationGate"]


class ActivationGate(Gate):
    """logits = |a_e · x| / (‖a_e‖ ‖x‖ temperature) of the pool's own in-vectors: [T, D] → [T, E].

    There is nothing to learn beside the experts; gradients of the gate reach their in-vectors. It follows a pool that
    grows or is pruned. `pool` is the layer's own; the gate refers to it without owning it, so it is saved once.

    Source: Lu et al., "Little By Little: Continual Learning via Self-Activated Sparse Mixture-of-Rank Adaptive
    Learning" (MoRA), 2025; no code. Deviation: cosine and absolute value, where a review of the paper gives a_e · x
    over the norm of all experts' answers. Limits: for `RankOne` pools; an expert that answers everything is chosen
    everywhere.

    >>> import torch
    >>> from turnout.nn import RoutedLayer, TopK
    >>> pool = RankOne(6, 8, activation="identity", zero=True)
    >>> layer = RoutedLayer(ActivationGate(pool), TopK(2), pool)
    >>> pool.grow(2)
    >>> tuple(layer(torch.randn(3, 8)).plan.scores_TE.shape)
    (3, 8)
    """

    rules: ClassVar = {"pool": Of((RankOne,)), "temperature": Number(1e-6)}

    def __init__(self, pool: RankOne, temperature: float = 0.1) -> None:
        super().__init__()
        self.require(pool=pool, temperature=temperature)
        self.temperature = temperature
        self._pool = (pool,)  # in a tuple the pool is no submodule

    @property
    def experts(self) -> int:  # type: ignore[override]
        """As many as the pool has now."""
        return self._pool[0].experts

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        in_ED = F.normalize(self._pool[0].in_ED.float(), dim=-1)
        logits_TE: Tensor = F.linear(F.normalize(x_TD, dim=-1), in_ED).abs() / self.temperature
        return logits_TE
