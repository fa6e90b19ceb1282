"""How a token's weight and score spread over experts."""

from __future__ import annotations

from turnout.errors import RoutingError
from turnout.nn.statistics.trace import Trace


def experts_per_token(trace: Trace) -> float:
    """The mean number of experts a token goes to."""
    return float(trace.seen().mask_TK.sum(1).double().mean())


def effective_support(trace: Trace) -> float:
    """Mean over tokens of 1 / Σ w², weights normalised: how many experts count; 1 when one has all the weight.

    Tokens without weight are left out. Source: the inverse participation ratio; ReMix (arXiv 2603.10160) uses it to
    show that learned weights collapse.

    >>> import torch
    >>> effective_support(Trace.of(torch.tensor([[0, 1]]), 4, weights_TK=torch.tensor([[0.5, 0.5]])))
    2.0
    """
    weights_TK = trace.weights_TK.double().abs()
    total_T = weights_TK.sum(1)
    kept_T = total_T > 0
    if not bool(kept_T.any()):
        raise RoutingError("no token has an expert with weight")
    share_TK = weights_TK[kept_T] / total_T[kept_T, None]
    return float((1 / share_TK.square().sum(1)).mean())


def score_entropy(trace: Trace) -> float:
    """Mean over tokens of the entropy of the scores, over log E: 1 when the gate has no opinion, 0 when it is sure."""
    return float(trace.seen().need("entropy_T").double().mean())
