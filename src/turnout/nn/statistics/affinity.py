"""How far the experts of one layer tell those of the next."""

from __future__ import annotations

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.statistics.trace import Trace


def affinity(lower: Trace, upper: Trace) -> Tensor:
    """P(e' | e): the share of tokens at expert e of the lower layer that are at e' of the upper, [E, E'] float64.

    Rows sum to the upper layer's experts per token; an expert without tokens has a row of 0. Source: Yao et al.,
    "Exploiting Inter-Layer Expert Affinity" (ExFlow), 2024.

    >>> a, b = Trace.of(torch.tensor([[0], [0], [1]]), 2), Trace.of(torch.tensor([[1], [0], [1]]), 2)
    >>> affinity(a, b).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    _aligned(lower, upper)
    lower_TE, upper_TE = lower.chosen_TE.double(), upper.chosen_TE.double()
    return lower_TE.T @ upper_TE / lower_TE.sum(0).clamp_min(1)[:, None]


def mutual_information(lower: Trace, upper: Trace) -> float:
    """Bits that a token's heaviest expert in one layer tells about that in the other.

    Limits: biased upwards by about (E−1)² / (2 T ln 2) bits in a sample, which its control shows.
    """
    _aligned(lower, upper)
    joint = torch.zeros(lower.experts + 1, upper.experts + 1, dtype=torch.float64)
    joint.index_put_((lower.top_T, upper.top_T), torch.ones(lower.tokens, dtype=torch.float64), accumulate=True)
    joint = joint / lower.tokens
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return float(torch.where(joint > 0, joint * (joint / apart.clamp_min(1e-300)).log2(), 0.0).sum())


def next_layer_recall(lower: Trace, upper: Trace, top: int = 2, seed: int = 0) -> float:
    """Share of the upper layer's choices among the `top` experts most likely after the lower layer's heaviest.

    The table is counted on a random half of the tokens and judged on the other. Raises RoutingError with fewer than
    two tokens.
    """
    _aligned(lower, upper)
    if lower.tokens < 2:
        raise RoutingError("recall needs at least two tokens: one to count, one to judge")
    heaviest, chosen_TE = lower.top_T, upper.chosen_TE
    order = torch.randperm(lower.tokens, generator=torch.Generator().manual_seed(seed))
    seen, judged = order[: lower.tokens // 2], order[lower.tokens // 2 :]
    table = torch.zeros(lower.experts + 1, upper.experts).index_add_(0, heaviest[seen], chosen_TE[seen].float())
    table = torch.where(table.any(1, keepdim=True), table, table.sum(0))  # not seen: the most usual of all
    guessed = table[heaviest[judged]].topk(min(top, upper.experts), -1).indices
    hit = chosen_TE[judged].gather(1, guessed).sum()
    return float(hit.double() / chosen_TE[judged].sum().clamp_min(1))


def _aligned(lower: Trace, upper: Trace) -> None:
    if lower.tokens != upper.tokens or not lower.tokens:
        said = f"got {lower.tokens} and {upper.tokens}"
        raise RoutingError(f"both layers must have seen the same tokens, at least one; {said}")
