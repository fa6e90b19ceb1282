"""Even importance: the squared coefficient of variation of what experts weigh."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Number, OneOf
from turnout.nn.balancers._parts import probabilities, real
from turnout.nn.base import Balancer, Routing

__all__ = ["Importance"]


class Importance(Balancer):
    """w · CV²(I): variance over squared mean of I_e, the sum over tokens of expert e's weights; padding left out.

    `of` takes the `weights` of the plan (the paper) or the gate's `scores`, which reach experts that were not chosen.
    0 where all experts weigh the same, E − 1 where one weighs all.

    Source: Shazeer et al., "Outrageously Large Neural Networks", 2017. Limits: equal importance may still be unequal
    load.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(1), FFN(4, 8, 16), balancers=[Importance(1.0)])
    >>> round(layer(torch.zeros(3, 8)).losses["importance"].item(), 3)  # ties: all to one expert
    3.0
    """

    rules: ClassVar = {"coefficient": Number(0), "of": OneOf(("weights", "scores"))}

    def __init__(self, coefficient: float = 0.1, *, of: str = "weights") -> None:
        super().__init__()
        self.require(coefficient=coefficient, of=of)
        self.coefficient, self.of = coefficient, of

    def _loss(self, routing: Routing) -> Tensor:
        weights_TE = real(routing.plan.weights_TE, routing) if self.of == "weights" else probabilities(routing)
        total_E = weights_TE.float().sum(0)
        return total_E.var(unbiased=False) / total_E.mean().square().clamp_min(1e-10)
