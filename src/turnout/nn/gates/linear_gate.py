"""The plain gate: one linear map in float32."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from turnout.base import Number
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["LinearGate"]


class LinearGate(Gate):
    """logits = x Wᵀ (+ b): [T, D] → [T, E].

    Source: Shazeer et al., "Outrageously Large Neural Networks", 2017. Limits: scores each token alone.

    >>> import torch
    >>> logits_TE, _ = LinearGate(8, 4)(torch.randn(3, 8))
    >>> tuple(logits_TE.shape)
    (3, 4)
    """

    rules: ClassVar = {"width": Number(1, integer=True), "experts": Number(1, integer=True)}

    def __init__(self, width: int, experts: int, *, bias: bool = False) -> None:
        super().__init__()
        self.require(width=width, experts=experts)
        self.width, self.experts = width, experts
        self.linear = nn.Linear(width, experts, bias=bias)

    @property
    def rows_ED(self) -> Tensor:
        """One row of weights per expert, [E, D]."""
        return self.linear.weight

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        return nn.functional.linear(x_TD, self.linear.weight.float(), self._bias())

    def _bias(self) -> Tensor | None:
        return None if self.linear.bias is None else self.linear.bias.float()
