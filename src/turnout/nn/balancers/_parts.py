"""What balancers share: which tokens count, and sums over replicas."""

from __future__ import annotations

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.base import Routing


def real(value_T: Tensor, routing: Routing) -> Tensor:
    """The rows that are no padding. Raises RoutingError for a mask of another length."""
    mask_T = routing.context.mask_T
    if mask_T is None:
        return value_T
    if mask_T.shape != value_T.shape[:1]:
        raise RoutingError(f"a mask must have shape ({value_T.shape[0]},), got {tuple(mask_T.shape)}")
    return value_T[mask_T]


def mean(value_T: Tensor) -> Tensor:
    """The mean; of nothing it is 0 and still part of the graph."""
    return value_T.sum() / max(value_T.numel(), 1)


def probabilities(routing: Routing) -> Tensor:
    """Scores of tokens that are no padding, each row divided by its sum: [T', E]."""
    scores_TE = real(routing.plan.scores_TE, routing)
    return scores_TE / scores_TE.sum(-1, keepdim=True).clamp_min(1e-9)


def sequences(routing: Routing, who: str) -> tuple[Tensor, int]:
    """Sequences of tokens that are no padding, numbered from 0, and how many. Raises RoutingError without them."""
    sequence_T = routing.context.sequence_T
    tokens = routing.plan.tokens
    if sequence_T is None or sequence_T.shape != (tokens,):
        got = None if sequence_T is None else tuple(sequence_T.shape)
        raise RoutingError(f"{who} needs the context's sequence_T of shape ({tokens},), got {got}")
    found, number_T = real(sequence_T, routing).unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return torch.as_tensor(number_T), int(found.shape[0])
