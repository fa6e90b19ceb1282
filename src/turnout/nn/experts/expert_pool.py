"""One store of experts for several layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.base import Experts, Segments

__all__ = ["ExpertPool"]


class ExpertPool(Experts):
    """A pool that several layers use: give the same object to each, or `view`s of it that offer a part.

    The weights exist once, whatever the number of layers; `parameters()` of a model yields them once, and a layer's
    gate scores what its view offers. A view of all experts costs nothing, one of a stretch of them a narrowed stack,
    any other a gathered copy of the experts it offers.

    Source: ReXMoE (experts of neighbouring layers); mixture of shards. Limits: a view reads stacks, so not `Modules`.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> pool = ExpertPool(FFN(4, 8, 16))
    >>> layers = [RoutedLayer(LinearGate(8, 3), TopK(1), pool.view(range(start, start + 3))) for start in (0, 1)]
    >>> sum(p.numel() for p in torch.nn.ModuleList(layers).parameters()) == 2 * 24 + 4 * 8 * 48
    True
    """

    def __init__(self, store: Experts, offered: Sequence[int] | None = None) -> None:
        super().__init__()
        self.store = store
        self.offered = tuple(range(store.experts) if offered is None else offered)
        if not self.offered or not set(self.offered) <= set(range(store.experts)):
            allowed = f"experts 0 to {store.experts - 1}"
            raise RoutingError(f"ExpertPool: a view offers at least one of {allowed}, got {list(self.offered)}")
        self.experts = len(self.offered)
        self.stacked = store.stacked
        if not store.stacked and not self._whole:
            raise RoutingError(f"ExpertPool: a view of a part needs stacked experts, got {type(store).__name__}")

    def view(self, offered: Sequence[int]) -> ExpertPool:
        """A part of this pool for one layer, by the pool's own numbers."""
        return ExpertPool(self.store, [self.offered[e] for e in offered])

    @property
    def _whole(self) -> bool:
        return self.offered == tuple(range(self.store.experts))

    def prepare(self, x_TD: Tensor) -> Tensor:
        """The store's."""
        return self.store.prepare(x_TD)

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """[N, D] → [N, M]."""
        y_NM: Tensor = self.store(x_ND, segments if self._whole else _View(segments, self.offered))
        return y_NM

    def merged(self, weights_GE: Tensor) -> Experts:
        """As the store's, the experts that are not offered having weight 0."""
        if self._whole:
            return self.store.merged(weights_GE)
        index = torch.tensor(self.offered, device=weights_GE.device)
        all_GE = weights_GE.new_zeros(*weights_GE.shape[:-1], self.store.experts)
        return self.store.merged(all_GE.index_add(-1, index, weights_GE))


class _View(Segments):
    """Segments numbered by a view, over stacks numbered by the store."""

    def __init__(self, segments: Segments, offered: tuple[int, ...]) -> None:
        self._segments, self._offered = segments, offered
        self.expert_N = segments.expert_N

    def linear(self, x_NI: Tensor, weight_EOI: Tensor) -> Tensor:
        return self._segments.linear(x_NI, self._part(weight_EOI))

    def pick(self, value_EO: Tensor) -> Tensor:
        return self._segments.pick(self._part(value_EO))

    def split(self, x_NI: Tensor) -> Sequence[Tensor]:
        return self._segments.split(x_NI)

    def _part(self, stack: Tensor) -> Tensor:
        first, last = self._offered[0], self._offered[-1]
        if self._offered == tuple(range(first, last + 1)):
            return stack.narrow(0, first, len(self._offered))
        return stack.index_select(0, torch.tensor(self._offered, device=stack.device))
