"""Top-k by score."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.errors import RoutingError
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import SCORES, best, check_k, normalized, own_generator, scores_of, taken

__all__ = ["TopK"]


class TopK(Selector):
    """The k experts of the highest scores, [T, E] → [T, k]; `score` makes scores of logits (identity: as they are).

    `normalize` makes a token's weights sum to 1 (with k = 1 the weight is then constant and the gate gets no gradient
    from the task). With `groups` only experts of a token's `top_groups` best groups are eligible, a group's score
    being the sum of its two best (DeepSeek-V3). `noise` adds N(0, noise²) to the scores while training.

    Source: Shazeer et al. 2017; Fedus et al., "Switch Transformers", 2021; DeepSeek-V3, 2024. Limits: k is fixed; a
    token with fewer than k experts that are not silenced gets those.

    >>> plan = TopK(2)(torch.tensor([[0.0, 2.0, 1.0, -1.0]]))
    >>> plan.idx_TK.tolist()
    [[1, 2]]
    """

    rules: ClassVar = {
        "k": Number(1, integer=True),
        "score": OneOf((*SCORES, "identity")),
        "groups": Number(1, integer=True),
        "top_groups": Number(1, integer=True, optional=True),
        "noise": Number(0),
        "scale": Number(0),
    }

    def __init__(
        self,
        k: int,
        *,
        score: str = "softmax",
        normalize: bool = True,
        groups: int = 1,
        top_groups: int | None = None,
        noise: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.require(k=k, score=score, groups=groups, top_groups=top_groups, noise=noise, scale=scale)
        self.k, self.score, self.normalize = k, score, normalize
        self.groups, self.top_groups, self.noise, self.scale = groups, top_groups, noise, scale

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        self._check_sizes(logits_TE.shape[-1])
        scores_TE = scores_of(logits_TE, self.score)
        idx_TK, full = best(self._by(logits_TE, scores_TE.detach(), context, bias_E), self.k, context)
        if self.normalize and self.score == "softmax":
            # the same weights by fewer operators, also where their scores underflow
            weights_TK = taken(logits_TE, idx_TK, full, empty=float("-inf")).softmax(-1)
        else:
            weights_TK = taken(scores_TE, idx_TK, full)
            weights_TK = normalized(weights_TK) if self.normalize else weights_TK
        if self.scale != 1:
            weights_TK = weights_TK * self.scale
        return Plan(idx_TK, weights_TK, scores_TE, logits_TE, full=full)

    def _by(self, logits_TE: Tensor, by_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Tensor:
        """What experts are ranked by, −inf where one is silenced."""
        noisy = bool(self.noise) and self.training
        if bias_E is None and not noisy and self.top_groups is None:
            # the same order, and silenced experts are out already
            return logits_TE.detach() if logits_TE.requires_grad else logits_TE
        if bias_E is not None:
            by_TE = by_TE + bias_E
        if noisy:
            generator = own_generator(context, "TopK")
            drawn_TE = torch.randn_like(by_TE) if generator is None else by_TE.new_empty(by_TE.shape)
            by_TE = by_TE + self.noise * (drawn_TE if generator is None else drawn_TE.normal_(generator=generator))
        # a silenced expert must not come back by its bias
        by_TE = by_TE.masked_fill(logits_TE == float("-inf"), float("-inf"))
        return by_TE if self.top_groups is None else self._eligible(by_TE)

    def _check_sizes(self, experts: int) -> None:
        check_k("TopK", self.k, experts)
        if experts % self.groups:
            raise RoutingError(f"TopK: groups must divide the number of experts, got {self.groups} of {experts}")
        if self.top_groups is not None and self.top_groups * (experts // self.groups) < self.k:
            raise RoutingError(f"TopK: {self.top_groups} of {self.groups} groups hold fewer than k={self.k} experts")

    def _eligible(self, scores_TE: Tensor) -> Tensor:
        assert self.top_groups is not None
        tokens, experts = scores_TE.shape
        grouped_TGS = scores_TE.view(tokens, self.groups, experts // self.groups)
        best_TG = grouped_TGS.topk(min(2, grouped_TGS.shape[-1]), dim=-1).values.sum(-1)
        kept = torch.zeros_like(best_TG, dtype=torch.bool)
        kept = kept.scatter(1, best_TG.topk(min(self.top_groups, self.groups), dim=-1).indices, True)
        return grouped_TGS.masked_fill(~kept[..., None], float("-inf")).view(tokens, experts)
