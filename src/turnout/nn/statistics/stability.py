"""How far two traces over the same tokens agree: two checkpoints, two runs, clean and noisy input."""

from __future__ import annotations

from turnout.errors import RoutingError
from turnout.nn.statistics.trace import Trace


def flips(before: Trace, after: Trace) -> float:
    """Share of tokens whose heaviest expert changed. Its control draws both traces' choices again.

    >>> import torch
    >>> old, new = torch.tensor([[0], [1], [2], [3]]), torch.tensor([[0], [1], [2], [0]])
    >>> flips(Trace.of(old, 4), Trace.of(new, 4))
    0.25
    """
    _same_tokens(before, after)
    return float((before.top_T != after.top_T).double().mean())


def overlap(before: Trace, after: Trace) -> float:
    """Mean over tokens of |A ∩ B| / |A ∪ B| of their experts; two empty sets agree."""
    _same_tokens(before, after)
    first_TE, second_TE = before.chosen_TE, after.chosen_TE
    both_T, any_T = (first_TE & second_TE).sum(1), (first_TE | second_TE).sum(1)
    return float(both_T.double().div(any_T.clamp_min(1)).masked_fill(any_T == 0, 1.0).mean())


def _same_tokens(before: Trace, after: Trace) -> None:
    if before.tokens != after.tokens or before.experts != after.experts:
        said = f"{before.tokens} tokens of {before.experts} experts and {after.tokens} of {after.experts}"
        raise RoutingError(f"flips and overlap need traces of the same tokens, got {said}")
    if not before.tokens:
        raise RoutingError("the traces are empty")
