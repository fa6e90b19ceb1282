"""Dropless dispatch through a loop of matrix products."""

from __future__ import annotations

from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import LoopSegments, run, run_blocks
from turnout.nn.plan import Plan

__all__ = ["Segment"]


class Segment(Dispatcher):
    """Sort rows by expert, gather once, one product per expert that has rows: any width, any device, any torch.

    On a CPU feed-forward experts run a block of rows at a time here, which takes less memory than `Grouped` and about
    its time, some hundredths more where experts have few rows. Limits: up to E small products instead of one call; its
    loop depends on the counts, so it does not compile into one graph.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(5, 3), TopK(2), FFN(3, 5, 7), dispatcher=Segment())
    >>> tuple(layer(torch.randn(3, 5)).output.shape)
    (3, 5)
    """

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        return run(x_TD, plan, experts, LoopSegments)

    def _weighted(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Tensor:
        return run_blocks(x_TD, plan, experts)
