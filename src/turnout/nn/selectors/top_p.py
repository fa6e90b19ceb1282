"""Top-p: as many experts as it takes to pass a probability mass."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Number
from turnout.nn.base import Selector
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors._parts import check_k, normalized, scores_of

__all__ = ["TopP"]


class TopP(Selector):
    """The shortest prefix of experts, best first, whose probabilities pass `p`: [T, E] → [T, K], K as needed.

    The expert that crosses `p` is kept, so a token has at least one; `min_k` and `max_k` bound the number. Weights are
    the raw probabilities, not renormalised, unless `normalize`. A bias changes the order, not the mass.

    Source: Huang et al., "Harder Tasks Need More Experts: Dynamic Routing in MoE Models", 2024, and its code (p = 0.4).
    Limits: nothing here makes the gate peaked; pair it with an entropy loss, else K grows with the gate's doubt.

    >>> import torch
    >>> plan = TopP(0.4)(torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4], [0.38, 0.32, 0.3]]).log())
    >>> plan.mask_TK.sum(-1).tolist(), round(plan.weights_TK[0, 0].item(), 2)
    ([1, 1, 2], 0.5)
    """

    rules: ClassVar = {
        "p": Number(0, 1),
        "min_k": Number(1, integer=True),
        "max_k": Number(1, integer=True, optional=True),
    }

    def __init__(self, p: float = 0.4, *, min_k: int = 1, max_k: int | None = None, normalize: bool = False) -> None:
        super().__init__()
        self.require(p=p, min_k=min_k, max_k=max_k)
        self.p, self.min_k, self.max_k, self.normalize = p, min_k, max_k, normalize

    def _choose(self, logits_TE: Tensor, context: RoutingContext, bias_E: Tensor | None) -> Plan:
        check_k("TopP", max(self.min_k, self.max_k or 1), logits_TE.shape[-1])
        scores_TE = scores_of(logits_TE, "softmax")
        mass_TE = scores_TE.detach()
        order_by_TE = mass_TE if bias_E is None else mass_TE + bias_E
        order_TE = order_by_TE.masked_fill(logits_TE == float("-inf"), float("-inf")).argsort(-1, descending=True)
        sorted_TE = mass_TE.gather(-1, order_TE)
        # float sums of all but one expert may reach 1, so the mass before each is what counts
        kept_TE = sorted_TE.cumsum(-1) - sorted_TE < self.p - 1e-6
        kept_TE[:, : self.min_k] = True
        if self.max_k is not None:
            kept_TE[:, self.max_k :] = False
        chosen_TE = kept_TE.scatter(-1, order_TE, kept_TE) & (logits_TE > float("-inf"))
        weights_TE = scores_TE
        if self.normalize:
            weights_TE = normalized(scores_TE * chosen_TE)
        return Plan.of_mask(chosen_TE, weights_TE, logits_TE, scores_TE)
