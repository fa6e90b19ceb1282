"""Two selectors, and a condition that says which of them serves a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, Of
from turnout.errors import RoutingError
from turnout.nn._entropy import tsallis
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors.soft import Soft
from turnout.nn.selectors.top_p import TopP

__all__ = ["Hybrid"]


class Hybrid(Selector):
    """`unsure` where the gate's Tsallis entropy is above a threshold, `sure` elsewhere: [T, E] → [T, K].

    The threshold is a share of the highest entropy that E experts allow, `index` the entropic index q (1: Shannon).
    Defaults are DynMoLE's: soft routing over all experts for doubtful tokens, top-p (0.75, at least 2) for the
    rest; only its entropic index is 1.1.
    `condition` replaces the entropy by any function of logits [T, E] → bool [T].

    Source: Li et al., "DynMoLE: Boosting Mixture of LoRA Experts Fine-Tuning with a Hybrid Routing Mechanism", 2025,
    and its code, whose top-p leaves out the expert that crosses p. Limits: both selectors run on every token; a token
    of a doubtful gate costs E experts.

    >>> plan = Hybrid(sure=TopP(0.5))(torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]))
    >>> plan.mask_TK.sum(-1).tolist()
    [3, 1]
    """

    rules: ClassVar = {
        "unsure": Of((Selector, type(None))),
        "sure": Of((Selector, type(None))),
        "threshold": Number(0, 1),
        "index": Number(0),
    }

    def __init__(
        self,
        unsure: Selector | None = None,
        sure: Selector | None = None,
        *,
        threshold: float = 0.9,
        index: float = 1.2,
        condition: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.require(unsure=unsure, sure=sure, threshold=threshold, index=index)
        self.unsure = unsure or Soft()
        self.sure = sure or TopP(0.75, min_k=2)
        self.threshold, self.index, self.condition = threshold, index, condition

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        doubt_T = self._doubt(logits_TE)
        first, second = self.unsure(logits_TE, context, bias_E), self.sure(logits_TE, context, bias_E)
        doubt_T1 = doubt_T[:, None]
        log_prob_T = None
        if first.log_prob_T is not None or second.log_prob_T is not None:
            none_T = logits_TE.new_zeros(logits_TE.shape[0])
            given = [none_T if plan.log_prob_T is None else plan.log_prob_T for plan in (first, second)]
            log_prob_T = torch.where(doubt_T, given[0], given[1])
        merged = Plan.of_mask(
            torch.where(doubt_T1, first.chosen_TE, second.chosen_TE),
            torch.where(doubt_T1, first.weights_TE, second.weights_TE),
            logits_TE,
            torch.where(doubt_T1, first.scores_TE, second.scores_TE),
        )
        return Plan(merged.idx_TK, merged.weights_TK, merged.scores_TE, logits_TE, log_prob_T=log_prob_T)

    def _doubt(self, logits_TE: Tensor) -> Tensor:
        if self.condition is None:
            return tsallis(logits_TE.detach().softmax(-1), self.index, relative=True) > self.threshold
        doubt_T = self.condition(logits_TE.detach())
        if doubt_T.dtype != torch.bool or doubt_T.shape != logits_TE.shape[:1]:
            got = f"{doubt_T.dtype} {tuple(doubt_T.shape)}"
            raise RoutingError(f"Hybrid: a condition must give bool ({logits_TE.shape[0]},), got {got}")
        return doubt_T
