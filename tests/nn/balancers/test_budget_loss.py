from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from turnout.errors import ParameterError, RoutingError
from turnout.nn import BudgetLoss, Soft, TopK
from turnout.nn.base import Routing

Make = Callable[..., Routing]


def test_what_a_token_spends(routing: Make) -> None:
    made = routing(torch.tensor([[60.0, 0.0], [0.0, 60.0], [0.0, 60.0], [0.0, 60.0]]), select=Soft())
    budget = BudgetLoss([1.0, 5.0], budget=3.0)
    assert budget.spent(made).item() == pytest.approx(4)
    assert budget(made).item() == pytest.approx(1)
    assert BudgetLoss([1.0, 5.0], budget=4.5, side="above")(made).item() == 0


def test_weights_are_what_is_spent_where_asked(routing: Make) -> None:
    made = routing(torch.tensor([[1.0, 0.0]]), select=TopK(1))
    assert BudgetLoss([1.0, 5.0], budget=0.0, of="weights").spent(made).item() == pytest.approx(1)
    assert BudgetLoss([1.0, 5.0], budget=0.0).spent(made).item() > 1.5


def test_padding_spends_nothing(routing: Make) -> None:
    made = routing(torch.tensor([[60.0, 0.0], [0.0, 60.0]]), select=TopK(1), mask_T=torch.tensor([True, False]))
    assert BudgetLoss([1.0, 5.0], budget=0.0).spent(made).item() == pytest.approx(1)


def test_costs_that_do_not_fit_are_named(routing: Make) -> None:
    with pytest.raises(ParameterError, match="`costs` must be one number of at least 0 per expert"):
        BudgetLoss([-1.0], budget=1.0)
    with pytest.raises(RoutingError, match="has 2 costs, the plan 4 experts"):
        BudgetLoss([1.0, 2.0], budget=1.0)(routing())
