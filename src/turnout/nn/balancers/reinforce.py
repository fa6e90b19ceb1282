"""A gradient for choices that were drawn: leave-one-out REINFORCE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.base import Balancer, Routing
from turnout.nn.plan import Plan

__all__ = ["Reinforce"]


class Reinforce(Balancer):
    """w · 1/(M−1) Σ_m (L_m − mean L) · log Q(J_m): its gradient is the router's, unbiased, of the expected loss.

    The training loop runs M passes with a `Sampled` selector, keeps each pass's losses L_m (without gradient here) and
    the log-probability of its choices over all layers (`log_prob(plans)`), and adds `estimate(losses, log_probs)`. In
    a layer this balancer gives no loss. Losses and log-probabilities are [M], or [M, B] by sequence, which lowers the
    variance.

    Source: ReMix (arXiv 2603.10160); Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for Free!", 2019. Limits:
    M forwards a step; variance grows with the number of drawn choices.

    >>> log_probs = torch.tensor([-1.0, -2.0], requires_grad=True)
    >>> Reinforce().estimate(torch.tensor([3.0, 1.0]), log_probs).backward()
    >>> log_probs.grad.tolist()  # the worse choice is made less likely
    [1.0, -1.0]
    """

    rules: ClassVar = {"coefficient": Number(0)}

    def __init__(self, coefficient: float = 1.0) -> None:
        super().__init__()
        self.require(coefficient=coefficient)
        self.coefficient = coefficient

    def log_prob(self, plans: Sequence[Plan], sequence_T: Tensor | None = None, sequences: int | None = None) -> Tensor:
        """Log-probability of one pass's choices, summed over its layers and tokens: a scalar, or [B] by sequence.

        Raises RoutingError where a plan was not drawn. Padding has no choice and counts 0.
        """
        total: Tensor | None = None
        for plan in plans:
            if plan.log_prob_T is None:
                raise RoutingError("Reinforce needs plans of a `Sampled` selector, got one without log_prob_T")
            real_T = plan.log_prob_T * plan.mask_TK.any(-1)
            if sequence_T is None:
                term = real_T.sum()
            else:
                count = int(sequence_T.max()) + 1 if sequences is None else sequences
                term = real_T.new_zeros(count).index_add(0, sequence_T, real_T)
            total = term if total is None else total + term
        if total is None:
            raise RoutingError("Reinforce needs at least one plan, got none")
        return total

    def estimate(self, losses_M: Tensor, log_probs_M: Tensor) -> Tensor:
        """The surrogate, averaged over sequences where given [M, B]. Raises RoutingError for fewer than two passes."""
        if losses_M.shape != log_probs_M.shape or losses_M.ndim == 0 or losses_M.shape[0] < 2:
            shapes = f"{tuple(losses_M.shape)} and {tuple(log_probs_M.shape)}"
            raise RoutingError(f"Reinforce needs losses and log-probabilities of two passes or more, got {shapes}")
        losses_M = losses_M.detach().float()
        advantage_M = losses_M - losses_M.mean(0, keepdim=True)
        per_sequence = (advantage_M * log_probs_M).sum(0) / (losses_M.shape[0] - 1)
        return self.coefficient * torch.mean(per_sequence)

    def _loss(self, routing: Routing) -> None:
        return None
