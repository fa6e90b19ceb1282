"""What a layer's routing did, gathered over passes; every statistic is a function of what is kept here."""

from __future__ import annotations

import torch
from torch import Tensor

from turnout.nn.base import recomputing
from turnout.nn.plan import Plan, RoutingContext


class RoutingStats:
    """Counts over passes: rows per expert, tokens, and on request each pass's plan (`keep`).

    Not a module: it takes no gradient and stays out of checkpoints. A pass that activation checkpointing recomputes is
    not counted again.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> stats = RoutingStats()
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), statistics=stats)
    >>> _ = layer(torch.randn(10, 8))
    >>> stats.tokens, int(stats.counts_E.sum())
    (10, 20)
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.keep = keep
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.tokens = 0
        self.counts_E: Tensor = torch.zeros(0, dtype=torch.int64)
        self.plans: list[Plan] = []

    @torch.no_grad()
    def update(self, plan: Plan, context: RoutingContext) -> None:
        """Count one pass."""
        if recomputing():
            return
        counts_E = plan.counts_E.detach()
        self.counts_E = counts_E.clone() if not self.tokens else self.counts_E + counts_E
        self.tokens += plan.tokens
        if self.keep:
            self.plans.append(plan)
