"""Dropless dispatch through a loop of matrix products."""

from __future__ import annotations

from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import LoopSegments, Order
from turnout.nn.plan import Plan

__all__ = ["Segment"]


class Segment(Dispatcher):
    """Sort rows by expert, gather once, one product per expert: any width, any device, any torch.

    Limits: E small products instead of one call; forward alone it is as fast as `Grouped` on a CPU.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(5, 3), TopK(2), FFN(3, 5, 7), dispatcher=Segment())
    >>> tuple(layer(torch.randn(3, 5)).output.shape)
    (3, 5)
    """

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        order = Order.of(plan)
        rows_NM = experts(x_TD.index_select(0, order.token_N), LoopSegments(order))
        return Dispatched(rows_NM, order.slot_N, plan.tokens, plan.k, plan.full)
