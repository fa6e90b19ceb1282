"""How evenly experts are used. All take a trace or counts [E]; the control is `uniform` routing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.statistics.trace import Trace


def load(routed: Trace | Tensor) -> Tensor:
    """Each expert's share of the rows, [E] float64, sum 1. Raises RoutingError where nothing was routed."""
    counts_E = (routed.counts_E if isinstance(routed, Trace) else routed).double()
    if not bool(counts_E.any()):
        raise RoutingError("no row was routed, so there is no load to speak of")
    return counts_E / counts_E.sum()


def coefficient_of_variation(routed: Trace | Tensor) -> float:
    """Standard deviation of the load over its mean: 0 when even, √(E−1) when one expert has all.

    >>> coefficient_of_variation(torch.tensor([4, 0]))
    1.0
    """
    share_E = load(routed)
    return float(share_E.std(correction=0) / share_E.mean())


def max_violation(routed: Trace | Tensor) -> float:
    """The largest load over the mean, less 1: 0 when even, E−1 when one expert has all.

    Source: Wang et al., "Auxiliary-Loss-Free Load Balancing", 2024.

    >>> max_violation(torch.tensor([3, 1, 1, 3]))
    0.5
    """
    share_E = load(routed)
    return float(share_E.max() * len(share_E) - 1)


def dead_experts(routed: Trace | Tensor, share: float = 0.0) -> int:
    """How many experts have no more than this share of an even load.

    >>> dead_experts(torch.tensor([8, 0, 8, 0])), dead_experts(torch.tensor([90, 5, 5]), share=0.2)
    (2, 2)
    """
    share_E = load(routed)
    return int((share_E * len(share_E) <= share).sum())


def load_entropy(routed: Trace | Tensor) -> float:
    """Entropy of the load over log E: 1 when even, 0 when one expert has all.

    >>> load_entropy(torch.tensor([5, 5, 0, 0]))
    0.5
    """
    share_E = load(routed)
    if len(share_E) == 1:
        return 1.0
    return float(torch.special.entr(share_E).sum() / math.log(len(share_E)))
