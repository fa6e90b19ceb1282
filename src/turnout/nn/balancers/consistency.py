"""Two passes through different experts should agree."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.balancers._parts import mean
from turnout.nn.base import Balancer, Routing

__all__ = ["Consistency"]


class Consistency(Balancer):
    """α · (KL(p₁‖p₂) + KL(p₂‖p₁)) / 2 between the outputs of two passes; `between` computes it.

    One routing says nothing of another pass, so in a layer this balancer gives no loss; the training loop runs the
    model twice and adds `consistency.between(logits_1, logits_2)` to the sum of both task losses.

    Source: Zuo et al., THOR, 2021, and its code (α = 5, two experts on IWSLT; the code's factor of one half). Limits:
    twice the forwards; agreement is not correctness.

    >>> import torch
    >>> a = torch.tensor([[2.0, 0.0]], requires_grad=True)
    >>> round(Consistency(5.0).between(a, a.flip(-1)).item(), 3), Consistency(5.0).between(a, a).item()
    (7.616, 0.0)
    """

    rules: ClassVar = {"coefficient": Number(0)}

    def __init__(self, coefficient: float = 5.0) -> None:
        super().__init__()
        self.require(coefficient=coefficient)
        self.coefficient = coefficient

    def between(self, first_TC: Tensor, second_TC: Tensor, mask_T: Tensor | None = None) -> Tensor:
        """The loss between logits [..., C] of two passes, with its coefficient; rows where the mask is False do not
        count. Raises RoutingError for shapes that disagree."""
        if first_TC.shape != second_TC.shape:
            shapes = f"{tuple(first_TC.shape)} and {tuple(second_TC.shape)}"
            raise RoutingError(f"Consistency compares logits of one shape, got {shapes}")
        log_p, log_q = first_TC.float().log_softmax(-1), second_TC.float().log_softmax(-1)
        apart_T = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1) / 2
        return self.coefficient * mean(apart_T if mask_T is None else apart_T[mask_T])

    def _loss(self, routing: Routing) -> None:
        return None
