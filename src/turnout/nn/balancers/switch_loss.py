"""The auxiliary load-balancing loss of Switch Transformers."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Number
from turnout.nn.base import Balancer, Routing

__all__ = ["SwitchLoss"]


class SwitchLoss(Balancer):
    """α · E · Σ_e f_e · P_e: f the share of rows an expert gets (no gradient), P its mean score.

    1·α when balanced, E·α when one expert gets all. Source: Fedus et al., "Switch Transformers", 2021.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), balancers=[SwitchLoss(0.01)])
    >>> layer(torch.randn(64, 8)).losses["switch_loss"].item() > 0.0099
    True
    """

    rules: ClassVar = {"coefficient": Number(0)}

    def __init__(self, coefficient: float = 0.01) -> None:
        super().__init__()
        self.require(coefficient=coefficient)
        self.coefficient = coefficient

    def _loss(self, routing: Routing) -> Tensor:
        plan = routing.plan
        share_E = plan.counts_E / plan.counts_E.sum().clamp_min(1)
        scores_TE = plan.scores_TE / plan.scores_TE.sum(-1, keepdim=True).clamp_min(1e-9)
        if routing.context.mask_T is not None:
            scores_TE = scores_TE[routing.context.mask_T]
        return plan.experts * (share_E * scores_TE.mean(0)).sum()
