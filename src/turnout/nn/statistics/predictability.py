"""How far a token's expert follows from its id alone."""

from __future__ import annotations

import torch
from torch import Tensor

from turnout.nn.statistics.trace import Trace, renumbered


def token_predictability(trace: Trace, seed: int = 0) -> float:
    """Accuracy of guessing each token's heaviest expert as the most usual one of its id.

    The most usual is counted on one random half of the tokens and judged on the other, both ways; an id not seen in
    the other half is guessed as the most usual expert of all. Its control shows the accuracy of guessing alone.
    Source: Xue et al., "OpenMoE", 2024 (token-id specialisation). Limits: needs some occurrences of each id.

    >>> ids = torch.arange(400) % 5
    >>> token_predictability(Trace.of(ids[:, None] % 3, 3, token_T=ids))
    1.0
    """
    ids_T, top_T = renumbered(trace.seen().need("token_T")), trace.top_T
    order = torch.randperm(trace.tokens, generator=torch.Generator().manual_seed(seed))
    halves = order[: trace.tokens // 2], order[trace.tokens // 2 :]
    right = [_right(ids_T, top_T, trace.experts, *halves), _right(ids_T, top_T, trace.experts, *halves[::-1])]
    return sum(right) / max(trace.tokens, 1)


def _right(ids_T: Tensor, top_T: Tensor, experts: int, seen: Tensor, judged: Tensor) -> int:
    ids = int(ids_T.max()) + 1
    counts = torch.zeros(ids, experts + 1, dtype=torch.int64)
    counts.index_put_((ids_T[seen], top_T[seen]), torch.ones_like(seen), accumulate=True)
    usual = torch.where(counts.any(1), counts.argmax(1), counts.sum(0).argmax())
    return int((usual[ids_T[judged]] == top_T[judged]).sum())
