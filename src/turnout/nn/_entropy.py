"""Shannon and Tsallis entropy of gate probabilities."""

from __future__ import annotations

import math

from torch import Tensor


def tsallis(p_TE: Tensor, index: float, *, relative: bool = False) -> Tensor:
    """S_q = (1 − Σ p^q) / (q − 1) over the last axis, Shannon's entropy in nats at q = 1: [..., E] → [...].

    `relative` divides by the entropy of the uniform distribution over E.

    >>> import torch
    >>> [round(tsallis(torch.full((4,), 0.25), q, relative=True).item(), 4) for q in (0.5, 1.0, 2.0)]
    [1.0, 1.0, 1.0]
    """
    experts = p_TE.shape[-1]
    if index == 1:
        entropy = -(p_TE * p_TE.clamp_min(1e-12).log()).sum(-1)
        most = math.log(experts)
    else:
        # p^q has no finite slope at 0 for q < 1
        entropy = (1 - p_TE.clamp_min(1e-12).pow(index).sum(-1)) / (index - 1)
        most = (1 - experts ** (1 - index)) / (index - 1)
    return entropy / max(most, 1e-12) if relative else entropy
