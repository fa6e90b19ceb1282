"""Sequences of one task should be routed alike, and those of different tasks apart."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.balancers._parts import mean, real, sequences
from turnout.nn.base import Balancer, Routing

__all__ = ["InfoNCE"]


class InfoNCE(Balancer):
    """w · cross-entropy of picking, for each sequence, another of its own task among all by their routing.

    A sequence is the mean of its tokens' logits [E]; likeness of two is m_i W m_jᵀ / temperature with W [E, E] learned,
    at first the identity. For every sequence i and every other j of its task: −log softmax over all k ≠ i at j.
    Sequences without a companion, tasks below 0 and padding are left out. Needs sequence_T and task_T.

    Source: T2MIR (in-context RL), and its code: weight and temperature there are per environment. Deviations: keys are
    this pass's own routings, there a momentum copy's; every companion counts. Limits: needs several sequences of a task
    in a batch.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, RoutingContext, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), balancers=[InfoNCE(4)])
    >>> context = RoutingContext(sequence_T=torch.arange(8) // 2, task_T=torch.arange(8) // 4)
    >>> layer(torch.randn(8, 8), context).losses["info_nce"].item() > 0
    True
    """

    rules: ClassVar = {
        "experts": Number(1, integer=True),
        "coefficient": Number(0),
        "temperature": Number(1e-6),
    }

    def __init__(self, experts: int, coefficient: float = 0.1, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.require(experts=experts, coefficient=coefficient, temperature=temperature)
        self.coefficient, self.temperature = coefficient, temperature
        self.likeness = nn.Parameter(torch.eye(experts))

    def _loss(self, routing: Routing) -> Tensor:
        logits_TE, task_T = routing.plan.logits_TE, routing.context.task_T
        if task_T is None or task_T.shape != logits_TE.shape[:1]:
            got = None if task_T is None else tuple(task_T.shape)
            raise RoutingError(f"InfoNCE needs the context's task_T of shape ({logits_TE.shape[0]},), got {got}")
        if logits_TE.shape[1] != len(self.likeness):
            raise RoutingError(f"InfoNCE is for {len(self.likeness)} experts, got logits of {logits_TE.shape[1]}")
        number_T, count = sequences(routing, "InfoNCE")
        logits_TE = real(logits_TE, routing).clamp_min(-1e4)
        sizes_S = number_T.bincount(minlength=count).clamp_min(1)
        mean_SE = logits_TE.new_zeros(count, logits_TE.shape[1]).index_add(0, number_T, logits_TE) / sizes_S[:, None]
        task_S = number_T.new_full((count,), -1).scatter(0, number_T, real(task_T, routing).long())
        itself_SS = torch.eye(count, dtype=torch.bool, device=mean_SE.device)
        alike_SS = mean_SE @ self.likeness.float() @ mean_SE.T / self.temperature
        log_p_SS = F.log_softmax(alike_SS.masked_fill(itself_SS, -1e30), dim=-1)
        pairs_SS = (task_S[:, None] == task_S) & (task_S >= 0) & ~itself_SS
        return mean(-log_p_SS[pairs_SS])
