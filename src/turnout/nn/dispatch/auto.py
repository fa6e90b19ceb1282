"""The dispatcher that picks: by width, plan and pool."""

from __future__ import annotations

from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch.grouped import Grouped
from turnout.nn.plan import Plan

__all__ = ["Auto"]


class Auto(Dispatcher):
    """Grouped products; odd widths fall back to the segment loop inside.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=Auto())
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    def __init__(self) -> None:
        super().__init__()
        self.grouped = Grouped()

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        found: Dispatched = self.grouped(x_TD, plan, experts)
        return found
