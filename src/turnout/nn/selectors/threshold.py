"""Experts whose score passes a threshold, given or set by a quantile of the batch."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.errors import ParameterError
from turnout.nn._steady import Steady, drained, tallied
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import SCORES, check_k, normalized, scores_of

__all__ = ["Threshold"]


class Threshold(Steady, Selector):
    """Every expert whose score passes a threshold: [T, E] → [T, K], K as needed.

    Give `threshold` itself, or `k`: then the threshold is the quantile of the scores of a batch that lets k experts a
    token pass on average. Training uses the batch's own quantile, and `update_biases(model)` moves `level` towards it
    (a moving average with `momentum`, over gradient accumulation and replicas); evaluation uses `level`, so that a
    token's experts do not depend on its neighbours, or the batch's quantile as long as `level` never moved. A token
    gets its `min_k` best experts in any case and at most `max_k`. A bias counts for passing, not for weighing.

    Source: Gülmez, "DynaMoE". Deviation: the percentile is over the batch; over a token's own scores, as secondary
    sources show it, the number that pass is fixed by construction. Limits: `level` lags while scores drift.

    >>> torch.manual_seed(0).initial_seed()
    0
    >>> select = Threshold(k=2)
    >>> plan = select(torch.randn(1000, 8))
    >>> round(plan.counts_E.sum().item() / 1000, 1), plan.mask_TK.sum(-1).min().item()
    (2.0, 1)
    """

    steady: ClassVar = ("level",)
    rules: ClassVar = {
        "threshold": Number(optional=True),
        "k": Number(0, optional=True),
        "score": OneOf(SCORES),
        "min_k": Number(0, integer=True),
        "max_k": Number(1, integer=True, optional=True),
        "momentum": Number(0, 1),
    }

    def __init__(
        self,
        threshold: float | None = None,
        *,
        k: float | None = None,
        score: str = "softmax",
        min_k: int = 1,
        max_k: int | None = None,
        normalize: bool = False,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        self.require(threshold=threshold, k=k, score=score, min_k=min_k, max_k=max_k, momentum=momentum)
        if (threshold is None) == (k is None):
            raise ParameterError(f"Threshold: give `threshold` or `k`, got threshold={threshold!r}, k={k!r}")
        self.threshold, self.k, self.score, self.normalize = threshold, k, score, normalize
        self.min_k, self.max_k, self.momentum = min_k, max_k, momentum
        self.level: Tensor
        self.register_buffer("level", torch.tensor(float("nan") if threshold is None else float(threshold)))
        self.seen = torch.zeros(2)

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        experts = logits_TE.shape[-1]
        check_k("Threshold", int(max(self.min_k, self.max_k or 1, self.k or 0)), experts)
        scores_TE = scores_of(logits_TE, self.score)
        by_TE = scores_TE.detach() if bias_E is None else scores_TE.detach() + bias_E
        by_TE = by_TE.masked_fill(logits_TE == float("-inf"), float("-inf"))
        chosen_TE = by_TE >= self._level(by_TE, context)
        if self.min_k or self.max_k is not None:
            rank_TE = by_TE.argsort(-1, descending=True).argsort(-1)
            chosen_TE = chosen_TE | (rank_TE < self.min_k)
            chosen_TE = chosen_TE & (rank_TE < (self.max_k or experts))
        chosen_TE = chosen_TE & (logits_TE > float("-inf"))
        weights_TE = normalized(scores_TE * chosen_TE) if self.normalize else scores_TE
        return Plan.of_mask(chosen_TE, weights_TE, logits_TE, scores_TE)

    def _level(self, by_TE: Tensor, context: RoutingContext) -> Tensor:
        if self.k is None:
            return self.level
        compiling = torch.compiler.is_compiling()
        if not (self.training or compiling or bool(torch.isnan(self.level))):
            return self.level
        found = self._passing(by_TE, context.mask_T)
        if found is None:
            return self.level
        if not self.training:
            return torch.where(torch.isnan(self.level), found, self.level)
        # fewer experts may be open than shall pass: −inf, which is no level to move to
        seen = torch.stack([found, torch.ones_like(found)])
        self.seen = tallied(self.seen, torch.where(found > float("-inf"), seen, 0.0))
        return found

    def _passing(self, by_TE: Tensor, mask_T: Tensor | None) -> Tensor | None:
        """The least score that passes so that k a token pass on average; None of no tokens."""
        assert self.k is not None
        if torch.compiler.is_compiling() and by_TE.shape[0]:  # how many tokens are no padding is no shape there
            real_T = torch.ones_like(by_TE[:, 0], dtype=torch.bool) if mask_T is None else mask_T
            sorted_X = by_TE.masked_fill(~real_T[:, None], float("-inf")).reshape(-1).sort(descending=True).values
            passing = (self.k * real_T.sum().double()).round().long().clamp_min(1)
            return sorted_X.gather(0, passing[None] - 1)[0]
        real_TE = by_TE if mask_T is None else by_TE[mask_T]
        flat = real_TE.reshape(-1)
        if not flat.numel():
            return None
        above = min(max(round(self.k * real_TE.shape[0]), 1), flat.numel())
        return flat.kthvalue(flat.numel() - above + 1).values

    @torch.no_grad()
    def after_step(self) -> bool:
        """Move `level` towards the mean quantile since the last step; False where there was none."""
        (total, passes), self.seen = drained(self.seen, self.level)
        if self.k is None or not bool(passes):
            return False
        fresh = bool(torch.isnan(self.level))
        found = total / passes
        self.level.copy_(found if fresh else self.momentum * self.level + (1 - self.momentum) * found)
        return True
