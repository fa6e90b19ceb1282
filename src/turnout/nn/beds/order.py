"""The order bed: sentences of which one half asks for the words and the other half for their order.

Words are drawn from a small vocabulary; the first word says which question is asked. `content`: which of two word
groups is in the majority, which a bag of words answers. `order`: whether a marked pair of words stands one way round
or the other, which no bag of words can. Everything is drawn by seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

VOCABULARY, LENGTH = 32, 10
FIRST, SECOND = 2, 3  # the marked pair; 0 and 1 say the question


@dataclass(frozen=True)
class Sentences:
    """ids [N, S], labels [N] of 0 and 1, and True where the answer lies in the order."""

    ids_NS: Tensor
    label_N: Tensor
    order_N: Tensor


def sentences(rows: int, seed: int) -> Sentences:
    """Drawn sentences; both questions and both answers are equally likely.

    >>> found = sentences(1000, 0)
    >>> bool((found.ids_NS[:, 0] == found.order_N).all()), 400 < int(found.label_N.sum()) < 600
    (True, True)
    """
    generator = torch.Generator().manual_seed(seed)
    ids_NS = torch.randint(4, VOCABULARY, (rows, LENGTH), generator=generator)
    places_N2 = 1 + torch.rand(rows, LENGTH - 1, generator=generator).argsort(1)[:, :2]
    ids_NS = ids_NS.scatter(1, places_N2, torch.tensor([FIRST, SECOND]).expand(rows, 2))
    order_N = torch.rand(rows, generator=generator) < 0.5
    ids_NS[:, 0] = order_N.long()
    middle = (VOCABULARY + 4) // 2
    high_N = (ids_NS >= middle).sum(1)
    low_N = ((ids_NS >= 4) & (ids_NS < middle)).sum(1)
    label_N = torch.where(order_N, places_N2[:, 0] < places_N2[:, 1], high_N > low_N).long()
    return Sentences(ids_NS, label_N, order_N)


class Ordered(nn.Module):
    """A GRU over word vectors: [N, S·V] → [N, C]."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.width, self.cell, self.leave = width, nn.GRU(width, hidden, batch_first=True), nn.Linear(hidden, classes)

    def forward(self, x_NF: Tensor) -> Tensor:
        """Scores from the last state."""
        _, last = self.cell(x_NF.view(len(x_NF), -1, self.width))
        scores_NC: Tensor = self.leave(last[0])
        return scores_NC


class Bag(nn.Module):
    """A two-layer network over the sum of word vectors: [N, S·V] → [N, C]."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, x_NF: Tensor) -> Tensor:
        """Scores whatever the order."""
        scores_NC: Tensor = self.layers(x_NF.view(len(x_NF), -1, self.width).sum(1))
        return scores_NC
