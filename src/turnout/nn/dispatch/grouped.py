"""Dropless dispatch through torch's grouped matrix product."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import GroupedSegments, run
from turnout.nn.plan import Plan

__all__ = ["Grouped"]


class Grouped(Dispatcher):
    """Sort rows by expert, gather once, one `grouped_mm` per weight; nothing is dropped or padded.

    A width that is no multiple of 16 bytes, or float64, goes through the segment loop; with `strict` it raises
    RoutingError instead. Limits: needs torch 2.9 on a CPU; on a GPU the native kernel is for bfloat16.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=Grouped())
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    def __init__(self, *, strict: bool = False) -> None:
        super().__init__()
        self.strict = strict

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        return run(x_TD, plan, experts, partial(GroupedSegments, strict=self.strict))
