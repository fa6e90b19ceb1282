"""The digits bed: scikit-learn's 1,797 handwritten digits of 8 × 8, for classifiers, denoisers, graphs and flows.

One recipe for every variant of a preset: Adam on full-size batches drawn by seed, no setting chosen by what is
reported. The split is random by seed, stratified by digit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES, PIXELS, SIDE = 10, 64, 8
FREQUENCIES = 8  # of a flow's time: 16 features


@dataclass(frozen=True)
class Digits:
    """Images [N, 64] in 0…1 with labels, split in two."""

    train_ND: Tensor
    train_N: Tensor
    test_ND: Tensor
    test_N: Tensor


def digits(seed: int, test: float = 0.3) -> Digits:
    """A stratified split.

    >>> found = digits(0)
    >>> tuple(found.train_ND.shape), float(found.train_ND.max())
    ((1257, 64), 1.0)
    """
    from sklearn.model_selection import train_test_split

    x_ND, y_N = _all()
    parts = train_test_split(x_ND.numpy(), y_N.numpy(), test_size=test, random_state=seed, stratify=y_N.numpy())
    train_ND, test_ND, train_N, test_N = (torch.from_numpy(part) for part in parts)
    return Digits(train_ND, train_N, test_ND, test_N)


@cache
def _all() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    x_ND, y_N = load_digits(return_X_y=True)
    return torch.from_numpy(x_ND).float() / 16, torch.from_numpy(y_N).long()


def descend(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    rows: int,
    *,
    seed: int,
    steps: int,
    batch: int = 128,
    rate: float = 3e-3,
) -> None:
    """Adam on `loss(index_B)`, with batches of row numbers below `rows` drawn by seed; the rate falls as a cosine."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(torch.randint(rows, (min(batch, rows),), generator=generator)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    model.eval()


def noisy(x_ND: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    """Images under Gaussian noise."""
    return x_ND + spread * torch.randn(x_ND.shape, generator=generator)


def flowed(data_BD: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rectified flow at random times: x_t = (1 − t) · noise + t · data, features of t, the velocity data − noise."""
    noise_BD = torch.randn(data_BD.shape, generator=generator)
    time_B1 = torch.rand(len(data_BD), 1, generator=generator)
    angle_BF = time_B1 * torch.pi * 2.0 ** torch.arange(FREQUENCIES)
    time_BF = torch.cat([angle_BF.sin(), angle_BF.cos()], dim=-1)
    return torch.lerp(noise_BD, data_BD, time_B1), time_BF, data_BD - noise_BD


def accuracy(scores_NC: Tensor, label_N: Tensor) -> float:
    """Share of rows whose largest score is at their label."""
    return float((scores_NC.argmax(-1) == label_N).float().mean())


@dataclass(frozen=True)
class Graph:
    """A graph of noisy digits: features, normalised adjacency with self-loops (sparse), labels, and three masks."""

    x_ND: Tensor
    adjacency_NN: Tensor
    label_N: Tensor
    train_N: Tensor
    test_N: Tensor


def graph(seed: int, *, neighbours: int = 6, labels: int = 90, noise: float = 0.4) -> Graph:
    """Each digit linked to its nearest neighbours by clean pixels, seen through noise; half are labelled.

    Features alone are noisy and edges are mostly between equals, so neighbours help where features fail. `labels` per
    class are for training, the rest tests.

    >>> found = graph(0)
    >>> int(found.train_N.sum()), tuple(found.adjacency_NN.shape)
    (900, (1797, 1797))
    """
    from sklearn.neighbors import kneighbors_graph

    x_ND, label_N = _all()
    generator = torch.Generator().manual_seed(seed)
    links = kneighbors_graph(x_ND.numpy(), neighbours, include_self=False).toarray()
    dense_NN = torch.from_numpy(links).float()
    dense_NN = torch.maximum(dense_NN, dense_NN.T) + torch.eye(len(x_ND))
    degree_N = dense_NN.sum(1).rsqrt()
    adjacency_NN = (degree_N[:, None] * dense_NN * degree_N).to_sparse()
    train_N = torch.zeros(len(x_ND), dtype=torch.bool)
    for digit in range(CLASSES):
        rows = (label_N == digit).nonzero()[:, 0]
        train_N[rows[torch.randperm(len(rows), generator=generator)[:labels]]] = True
    seen_ND = x_ND + noise * torch.randn(x_ND.shape, generator=generator)
    return Graph(seen_ND, adjacency_NN, label_N, train_N, ~train_N)


class GraphNetwork(nn.Module):
    """A graph convolution of two layers (Kipf & Welling 2017): [N, D] → [N, C]."""

    def __init__(self, adjacency_NN: Tensor, width: int, hidden: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.adjacency_NN = adjacency_NN
        self.enter, self.leave = nn.Linear(width, hidden), nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_ND: Tensor) -> Tensor:
        """Class scores of every node."""
        hidden_NH = self.dropout(F.relu(torch.sparse.mm(self.adjacency_NN, self.enter(x_ND))))
        scores_NC: Tensor = torch.sparse.mm(self.adjacency_NN, self.leave(hidden_NH))
        return scores_NC


def network(width: int, hidden: int, out: int, dropout: float = 0.0) -> nn.Sequential:
    """Two layers with a ReLU between."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, out))
