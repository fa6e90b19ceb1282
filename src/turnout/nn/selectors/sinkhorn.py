"""Scores balanced by optimal transport, on a share of the training steps."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import best, check_k, normalized, own_generator, refuse_bias, scores_of, taken

__all__ = ["Sinkhorn"]


class Sinkhorn(Selector):
    """Top-k of the transport plan Π on a random `share` of training steps, of softmax(logits) otherwise: → [T, k].

    Π = argmax ⟨Π, logits⟩ − ξ ⟨Π, log Π⟩ with rows that sum to 1 and columns that sum to T/E, by `iterations` rounds
    of Sinkhorn's algorithm (ξ is `sharpness`, smaller is harder). Gradients pass through Π. Padding carries no mass.
    `share=1` uses Π on every training step.

    Source: "Selective Sinkhorn Routing for Improved Sparse Mixture of Experts"; Clark et al. 2022 for the balance by
    Sinkhorn. Limits: evaluation never balances, so loads there are as uneven as without any balancer.

    >>> torch.manual_seed(0).initial_seed()
    0
    >>> logits_TE = torch.randn(64, 4) + torch.tensor([3.0, 0.0, 0.0, 0.0])
    >>> select = Sinkhorn(1, share=1.0)
    >>> select(logits_TE).counts_E.max().item() < 24, select.eval()(logits_TE).counts_E.max().item() > 50
    (True, True)
    """

    rules: ClassVar = {
        "k": Number(1, integer=True),
        "share": Number(0, 1),
        "sharpness": Number(1e-6),
        "iterations": Number(1, integer=True),
    }

    def __init__(
        self, k: int, *, share: float = 0.05, sharpness: float = 1.0, iterations: int = 10, normalize: bool = True
    ) -> None:
        super().__init__()
        self.require(k=k, share=share, sharpness=sharpness, iterations=iterations)
        self.k, self.share, self.normalize = k, share, normalize
        self.sharpness, self.iterations = sharpness, iterations

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        refuse_bias("Sinkhorn", bias_E, "transport balances by itself")
        check_k("Sinkhorn", self.k, logits_TE.shape[-1])
        scores_TE = scores_of(logits_TE, "softmax")
        if self.training and self.share:
            scores_TE = self._balanced(logits_TE, scores_TE, context)
        by_TE = scores_TE.detach().masked_fill(logits_TE == float("-inf"), float("-inf"))
        idx_TK, full = best(by_TE, self.k, context)
        weights_TK = taken(scores_TE, idx_TK, full)
        weights_TK = normalized(weights_TK) if self.normalize else weights_TK
        return Plan(idx_TK, weights_TK, scores_TE, logits_TE, full=full)

    def _balanced(self, logits_TE: Tensor, scores_TE: Tensor, context: RoutingContext) -> Tensor:
        """Π or the scores, as the draw says; a graph, which cannot branch by a draw, computes both."""
        drawn = torch.rand((), generator=own_generator(context, "Sinkhorn"), device=logits_TE.device) < self.share
        if not torch.compiler.is_compiling():
            return self._transported(logits_TE, scores_TE, context) if bool(drawn) else scores_TE
        return torch.where(drawn, self._transported(logits_TE, scores_TE, context), scores_TE)

    def _transported(self, logits_TE: Tensor, scores_TE: Tensor, context: RoutingContext) -> Tensor:
        plan_TE = transport(logits_TE / self.sharpness, self.iterations, context.mask_T)
        return plan_TE if context.mask_T is None else torch.where(context.mask_T[:, None], plan_TE, scores_TE)


def transport(cost_TE: Tensor, iterations: int, mask_T: Tensor | None = None) -> Tensor:
    """Π [T, E] with rows of 1 and columns of T over the number of open experts; 0 where the cost is −inf.

    Rows where the mask is False carry no mass to a column, nor count in T.
    """
    if not cost_TE.shape[0]:
        return cost_TE
    real_T = torch.ones_like(cost_TE[:, 0], dtype=torch.bool) if mask_T is None else mask_T
    silenced_TE = cost_TE == float("-inf")
    open_E = (~silenced_TE & real_T[:, None]).any(0)
    log_TE = cost_TE.masked_fill(silenced_TE, -1e30)
    column = torch.log(real_T.sum().clamp_min(1) / open_E.sum().clamp_min(1))
    for _ in range(iterations):
        mass_TE = log_TE if mask_T is None else log_TE.masked_fill(~mask_T[:, None], -1e30)
        log_TE = log_TE - torch.where(open_E, mass_TE.logsumexp(0) - column, 0)
        log_TE = log_TE - log_TE.logsumexp(-1, keepdim=True)
    return log_TE.exp()
