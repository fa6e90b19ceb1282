"""How many experts can stay untouched: for a token, and for a chunk of neighbouring tokens.

Source: Song et al., "BlockFFN: Towards End-Side Acceleration-Friendly Mixture-of-Experts with Chunk-Level Activation
Sparsity", 2025.
"""

from __future__ import annotations

from turnout.nn.statistics.trace import Trace


def token_sparsity(trace: Trace) -> float:
    """TLS: the share of experts that a token leaves alone.

    >>> import torch
    >>> token_sparsity(Trace.of(torch.tensor([[0, 1], [2, 3]]), 8))
    0.75
    """
    return 1 - float(trace.seen().mask_TK.sum()) / (trace.tokens * trace.experts)


def chunk_sparsity(trace: Trace, length: int = 8) -> float:
    """CLS: the share of experts that none of `length` neighbouring tokens needs. Chunks do not overlap.

    >>> import torch
    >>> chunk_sparsity(Trace.of(torch.tensor([[0], [1], [2], [2]]), 8), length=2)
    0.8125
    """
    return float((trace.windows(length, stride=length) == 0).double().mean())
