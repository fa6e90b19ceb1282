"""Each expert takes its best tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.errors import RoutingError
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import SCORES, groups_of, refuse_bias, scores_of

__all__ = ["ExpertChoice"]

SCHEDULES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "constant": lambda time: torch.full_like(time, 0.5),
        "linear": lambda time: time,
        "linear_reverse": lambda time: 1 - time,
        "cosine": lambda time: (1 - torch.cos(math.pi * time)) / 2,
        "cosine_reverse": lambda time: (1 + torch.cos(math.pi * time)) / 2,
    }
)


class ExpertChoice(Selector):
    """Each expert takes the C = ⌈T·k/E⌉ tokens of its highest logits, weighed by score: [T, E] → [T, K], K from 0 to E.

    Load is equal by construction; a token may get any number of experts, none included. `unit` is what competes: the
    batch, or each sequence by itself (needs sequence_T). With `schedule` k runs from `k_min` to `k_max` over the
    context's time_T (a mask ratio or diffusion time in 0…1, averaged over what competes); `linear_reverse` gives most
    experts where least is masked. Without time_T k stays at `k`, by default the middle of both.

    Source: Zhou et al., "Mixture-of-Experts with Expert Choice Routing", 2022; capacity schedules: EC-DLM. Deviations:
    tokens are ranked by logit, as EC-DLM's runs and the Routing Transformer do, where Zhou et al. rank them by their
    softmax over experts; the softmax is over all experts, in EC-DLM's runs over those that took the token. Limits: a
    token's experts depend on tokens after it, so in a causal language model this leaks the future; padding never
    competes; the choice in a batch depends on the batch.

    >>> plan = ExpertChoice(1)(torch.randn(12, 4))
    >>> plan.counts_E.tolist()
    [3, 3, 3, 3]
    """

    rules: ClassVar = {
        "k": Number(0, optional=True),
        "schedule": OneOf(tuple(SCHEDULES)),
        "k_min": Number(0, optional=True),
        "k_max": Number(0, optional=True),
        "unit": OneOf(("batch", "sequence")),
        "score": OneOf(SCORES),
    }

    def __init__(
        self,
        k: float | None = None,
        *,
        schedule: str = "constant",
        k_min: float | None = None,
        k_max: float | None = None,
        unit: str = "batch",
        score: str = "softmax",
    ) -> None:
        super().__init__()
        self.require(k=k, schedule=schedule, k_min=k_min, k_max=k_max, unit=unit, score=score)
        middle = 1.0 if k is None else k
        self.k_min = middle if k_min is None else k_min
        self.k_max = middle if k_max is None else k_max
        self.k = (self.k_min + self.k_max) / 2 if k is None else k
        self.schedule, self.unit, self.score = schedule, unit, score

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        refuse_bias("ExpertChoice", bias_E, "its load is equal already")
        tokens, experts = logits_TE.shape
        if max(self.k, self.k_max) > experts:
            most = max(self.k, self.k_max)
            raise RoutingError(f"ExpertChoice: k must be at most the number of experts, got k={most:g}, E={experts}")
        scores_TE = scores_of(logits_TE, self.score)
        by_sequence = self.unit == "sequence"
        group_T, groups = groups_of(tokens, context, logits_TE.device, by_sequence=by_sequence)
        sizes_G = group_T.bincount(minlength=groups + 1)
        capacity_G = (sizes_G * self._k(context, group_T, sizes_G) / experts - 1e-6).ceil().long()
        capacity_G[groups] = 0
        # tokens of each expert in the order (group, falling score): the group is the outer key of a stable sort
        order_TE = logits_TE.detach().argsort(dim=0, descending=True, stable=True)
        order_TE = order_TE.gather(0, group_T[order_TE].argsort(dim=0, stable=True))
        sorted_T = group_T.sort().values
        rank_T = torch.arange(tokens, device=group_T.device) - (sizes_G.cumsum(0) - sizes_G)[sorted_T]
        kept_TE = (rank_T < capacity_G[sorted_T])[:, None].expand(tokens, experts)
        chosen_TE = torch.zeros_like(kept_TE).scatter(0, order_TE, kept_TE) & (logits_TE > float("-inf"))
        return Plan.of_mask(chosen_TE, scores_TE, logits_TE)

    def _k(self, context: RoutingContext, group_T: Tensor, sizes_G: Tensor) -> Tensor:
        """Experts a token, by group."""
        if self.schedule == "constant" or context.time_T is None:
            return torch.full(sizes_G.shape, float(self.k), dtype=torch.float64, device=sizes_G.device)
        time_T = context.time_T.double()
        if time_T.shape != group_T.shape:
            raise RoutingError(
                f"ExpertChoice: time_T must have shape {tuple(group_T.shape)}, got {tuple(time_T.shape)}"
            )
        sums_G = time_T.new_zeros(sizes_G.shape).index_add(0, group_T, time_T)
        share_G = SCHEDULES[self.schedule]((sums_G / sizes_G.clamp_min(1)).clamp(0, 1))
        return self.k_min + (self.k_max - self.k_min) * share_G
