"""Experts drawn from the gate's own distribution, with the log-probability of the draw."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import (
    best,
    check_k,
    groups_of,
    gumbel,
    own_generator,
    refuse_bias,
    scores_of,
    taken,
)

__all__ = ["Sampled"]


class Sampled(Selector):
    """k experts drawn without replacement from softmax(logits) in training, the k best in evaluation: → [T, k].

    `plan.log_prob_T` is the log-probability of the draw in its order, Σ_j log q_j / (1 − Σ_{i<j} q_i), and carries the
    gradient for `Reinforce`. `weigh="constant"` gives every chosen expert `weight` (None: 1/k), so that none can
    starve the others (ReMix); `weigh="score"` gives it its probability. `unit="sequence"` draws once a sequence, from
    the mean of its logits, and spreads the draw's log-probability evenly over its tokens.

    Source: ReMix (arXiv 2603.10160), whose constant is 2/(k·r) or 2/√(k·r) for adapters of rank r. Limits: with
    constant weights the gate learns only through `Reinforce`, which needs several passes a step.

    >>> torch.manual_seed(0).initial_seed()
    0
    >>> plan = Sampled(2)(torch.tensor([[0.0, 0.0, 9.0, 9.0]]))
    >>> sorted(plan.idx_TK[0].tolist()), round(plan.log_prob_T.exp().item(), 2)
    ([2, 3], 0.5)
    """

    rules: ClassVar = {
        "k": Number(1, integer=True),
        "weigh": OneOf(("constant", "score")),
        "weight": Number(optional=True),
        "unit": OneOf(("token", "sequence")),
    }

    def __init__(self, k: int, *, weigh: str = "constant", weight: float | None = None, unit: str = "token") -> None:
        super().__init__()
        self.require(k=k, weigh=weigh, weight=weight, unit=unit)
        self.k, self.weigh, self.weight, self.unit = k, weigh, weight, unit

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        refuse_bias("Sampled", bias_E, "its log-probability would be of another draw")
        check_k("Sampled", self.k, logits_TE.shape[-1])
        if self.unit == "token":
            idx_TK, full, log_prob_T = self._draw(logits_TE, context)
            scores_TE = scores_of(logits_TE, "softmax")
        else:
            tokens = logits_TE.shape[0]
            group_T, groups = groups_of(tokens, context, logits_TE.device, by_sequence=True)
            sizes_G = group_T.bincount(minlength=groups + 1)
            sums_GE = logits_TE.new_zeros(groups + 1, logits_TE.shape[-1]).index_add(0, group_T, logits_TE)
            mean_GE = sums_GE / sizes_G.clamp_min(1)[:, None]
            idx_GK, full, log_prob_G = self._draw(mean_GE, context)
            idx_TK, scores_TE = idx_GK[group_T], scores_of(mean_GE, "softmax")[group_T]
            log_prob_T = (log_prob_G / sizes_G.clamp_min(1))[group_T]
        weights_TK = taken(scores_TE, idx_TK, full) if self.weigh == "score" else self._constant(idx_TK, logits_TE)
        return Plan(idx_TK, weights_TK, scores_TE, logits_TE, full=full, log_prob_T=log_prob_T)

    def _draw(self, logits_TE: Tensor, context: RoutingContext) -> tuple[Tensor, bool, Tensor]:
        keys_TE = logits_TE.detach()
        if self.training:
            keys_TE = keys_TE + gumbel(keys_TE, own_generator(context, "Sampled"))
        idx_TK, full = best(keys_TE, self.k, context)
        return idx_TK, full, ordered_log_prob(logits_TE, idx_TK)

    def _constant(self, idx_TK: Tensor, logits_TE: Tensor) -> Tensor:
        weight = 1 / self.k if self.weight is None else self.weight
        return weight * (idx_TK < logits_TE.shape[-1]).to(logits_TE.dtype)


def ordered_log_prob(logits_TE: Tensor, idx_TK: Tensor) -> Tensor:
    """Log-probability [T] of drawing these experts in this order without replacement; empty slots count 0."""
    experts = logits_TE.shape[-1]
    left_TE = logits_TE
    total_T = logits_TE.new_zeros(logits_TE.shape[0])
    for slot_T in idx_TK.unbind(-1):
        at_T1 = slot_T.clamp(max=experts - 1)[:, None]
        drawn_T = (left_TE.gather(-1, at_T1) - left_TE.logsumexp(-1, keepdim=True))[:, 0]
        total_T = total_T + torch.where(slot_T < experts, drawn_T, 0)
        # the last expert leaves nothing to sum over, so what is gone sinks instead of vanishing
        left_TE = left_TE.scatter(-1, at_T1, -1e30)
    return total_T
