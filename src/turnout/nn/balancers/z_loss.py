"""A brake on large logits."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Number
from turnout.nn.balancers._parts import mean, real
from turnout.nn.base import Balancer, Routing

__all__ = ["ZLoss"]


class ZLoss(Balancer):
    """β · mean over tokens of (log Σ_e exp z_e)²; padding does not count.

    Source: Zoph et al., "ST-MoE", 2022 (β = 1e-3). Limits: keeps logits small, balances nothing.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), balancers=[ZLoss(1.0)])
    >>> round(layer(torch.zeros(3, 8)).losses["z_loss"].item(), 3)  # (log 4)²
    1.922
    """

    rules: ClassVar = {"coefficient": Number(0)}

    def __init__(self, coefficient: float = 1e-3) -> None:
        super().__init__()
        self.require(coefficient=coefficient)
        self.coefficient = coefficient

    def _loss(self, routing: Routing) -> Tensor:
        return mean(real(routing.plan.logits_TE.logsumexp(-1).square(), routing))
