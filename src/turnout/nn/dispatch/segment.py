"""Dropless dispatch through a loop of matrix products."""

from __future__ import annotations

from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import LoopSegments, Order, run
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
        order = Order.of(plan)
        weight_N = plan.weights_TK.reshape(-1).index_select(0, order.slot_N)
        y_TM = experts.blocked(x_TD, weight_N, order.token_N, order.sizes)
        if y_TM is None:
            rows_NM = experts(order.rows(x_TD), LoopSegments(order))
            return order.dispatched(rows_NM).weighted_sum(plan.weights_TK)
        return y_TM
