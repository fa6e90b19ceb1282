"""Dropless dispatch through torch's grouped matrix product."""

from __future__ import annotations

from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import GroupedSegments, Order
from turnout.nn.plan import Plan

__all__ = ["Grouped"]


class Grouped(Dispatcher):
    """Sort rows by expert, gather once, one `grouped_mm` per weight; nothing is dropped or padded.

    Widths that are no multiple of 16 bytes go through the segment loop. Limits: needs torch 2.9 on a CPU; on a GPU the
    native kernel is for bfloat16.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=Grouped())
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        order = Order.of(plan)
        rows_NM = experts(x_TD.index_select(0, order.token_N), GroupedSegments(order))
        return Dispatched(rows_NM, order.slot_N, plan.tokens, plan.k, plan.full)
