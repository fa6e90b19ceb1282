"""A budget on what the gate spends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from turnout.base import Number, OneOf
from turnout.errors import ParameterError, RoutingError
from turnout.nn.balancers._parts import probabilities, real
from turnout.nn.base import Balancer, Routing

__all__ = ["BudgetLoss"]


class BudgetLoss(Balancer):
    """w · (mean over tokens of Σ_e cost_e · p_e − budget)², padding left out; `side="above"` forgives spending less.

    `costs` are per expert, in any unit that `budget` is in too: FLOPs, a big expert's 1 against a small one's 0. `of`
    says what p is: the gate's `scores` over their sum, or the plan's `weights`.

    Source: Duo-LLM (big or small FFN, target share of big). Deviation: the mean is over one layer, there over all of
    them; give one budget to each. Limits: a mean, so a few dear tokens may hide among cheap ones.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, Soft
    >>> budget = BudgetLoss([0.0, 1.0], budget=0.25, coefficient=1.0)
    >>> layer = RoutedLayer(LinearGate(8, 2), Soft(), FFN(2, 8, 16), balancers=[budget])
    >>> layer(torch.zeros(3, 8)).losses["budget_loss"].item()  # half of the tokens' mass, (0.5 − 0.25)²
    0.0625
    """

    rules: ClassVar = {
        "budget": Number(0),
        "coefficient": Number(0),
        "side": OneOf(("both", "above")),
        "of": OneOf(("scores", "weights")),
    }

    def __init__(
        self,
        costs: Sequence[float],
        budget: float,
        *,
        coefficient: float = 1.0,
        side: str = "both",
        of: str = "scores",
    ) -> None:
        super().__init__()
        self.require(budget=budget, coefficient=coefficient, side=side, of=of)
        if not len(costs) or not all(cost >= 0 for cost in costs):
            raise ParameterError(f"BudgetLoss: `costs` must be one number of at least 0 per expert, got {costs!r}")
        self.budget, self.coefficient, self.side, self.of = budget, coefficient, side, of
        self.costs_E: Tensor
        self.register_buffer("costs_E", torch.tensor([float(cost) for cost in costs]), persistent=False)

    def spent(self, routing: Routing) -> Tensor:
        """Mean cost of a token."""
        if self.costs_E.shape[0] != routing.plan.experts:
            raise RoutingError(f"BudgetLoss has {self.costs_E.shape[0]} costs, the plan {routing.plan.experts} experts")
        share_TE = probabilities(routing) if self.of == "scores" else real(routing.plan.weights_TE, routing)
        return (share_TE.float() @ self.costs_E).sum() / max(share_TE.shape[0], 1)

    def _loss(self, routing: Routing) -> Tensor:
        over = self.spent(routing) - self.budget
        return (over if self.side == "both" else over.relu()).square()
