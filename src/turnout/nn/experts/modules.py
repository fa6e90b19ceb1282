"""Experts that are modules of any kind."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from turnout.errors import RoutingError
from turnout.nn._rows import joined
from turnout.nn.base import Experts, Segments

__all__ = ["Modules"]


class Modules(Experts):
    """E modules of any kind, each D → M: a GRU beside an FFN, convolutions of different kernels, whole networks.

    A module gets its rows as [n, D] (reshape inside for images or sequences) and is not called without rows. `Auto`
    runs them one by one. Limits: no product over all experts, so many small modules are slow; a module whose output
    depends on its other rows (batch norm) sees only the rows routed to it.

    >>> import torch
    >>> from turnout.nn import LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 2), TopK(1), Modules([nn.Linear(8, 5), nn.LazyLinear(5)]))
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 5)
    """

    stacked = False

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.experts = len(self.parts)
        if not self.experts:
            raise RoutingError("Modules needs at least one module, got none")

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """[N, D] → [N, M]. Raises RoutingError where the modules' widths disagree."""
        blocks = zip(self.parts, segments.split(x_ND), strict=True)
        outputs = [part(block) for part, block in blocks if block.shape[0]]
        return joined(outputs or [self.parts[0](x_ND)])
