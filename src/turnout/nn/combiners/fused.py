"""Experts of low rank mixed without handing rows out."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.base import Combiner, Dispatcher, Experts
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["Fused"]


class Fused(Combiner):
    """Σ_e w_te · expert e of x_t in one pass over the whole pool, for experts that offer `mixed`: [T, M].

    Equal to dispatching and summing; cheaper where all experts together are small beside the base layer (E·R ≤ D) and
    for soft routing. Weights of experts that are not chosen, or that a capacity drops, are 0; `weight` gives every
    other one that constant instead of its score. Limits: the work does not shrink with k.

    >>> import torch
    >>> from turnout.nn import LinearGate, LoRA, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), LoRA(4, 8, rank=2), combiner=Fused())
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    rules: ClassVar = {"weight": Number(optional=True)}

    def __init__(self, weight: float | None = None) -> None:
        super().__init__()
        self.require(weight=weight)
        self.weight = weight

    def forward(
        self, x_TD: Tensor, plan: Plan, experts: Experts, dispatcher: Dispatcher, context: RoutingContext
    ) -> Tensor:
        """[T, M]. Raises RoutingError for experts without `mixed`."""
        mixed = getattr(experts, "mixed", None)
        if mixed is None:
            raise RoutingError(f"Fused needs experts that offer `mixed`; {type(experts).__name__} does not")
        plan = plan.as_run()
        weights_TE = plan.weights_TE if self.weight is None else self.weight * plan.chosen_TE.to(x_TD.dtype)
        y_TM: Tensor = mixed(x_TD, weights_TE)
        return y_TM
