from __future__ import annotations

import pytest
import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn import FFN, Plan
from turnout.nn.base import Experts, Segments
from turnout.nn.dispatch._segments import RowSegments
from turnout.nn.dispatch.per_token import PerToken


class Splitting(Experts):
    """A pool that splits its rows although it does not say so."""

    name, experts = "splitting", 3

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        return torch.cat(list(segments.split(x_ND)))


def test_rows_that_nobody_sorted_are_not_split() -> None:
    plan = Plan(torch.tensor([[2, 0]]), torch.ones(1, 2), torch.zeros(1, 3), torch.zeros(1, 3), full=True)
    with pytest.raises(RoutingError, match="such a pool says `stacked = False`"):
        PerToken().weighted(torch.randn(1, 4), plan, Splitting())


@pytest.mark.parametrize("tokens", [0, 2])
def test_rows_take_the_type_of_autocast(tokens: int) -> None:
    segments, experts = RowSegments(torch.tensor([2, 0])[:tokens], 3), FFN(3, 4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert segments.linear(torch.randn(tokens, 4), experts.down_proj.transpose(1, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("tokens", [0, 1])
def test_a_pool_in_another_type_than_its_rows(tokens: int, full: bool) -> None:
    scores_TE = torch.zeros(tokens, 3)
    plan = Plan(torch.zeros(tokens, 1).long(), torch.ones(tokens, 1), scores_TE, scores_TE, full=full)
    assert PerToken().weighted(torch.randn(tokens, 4).bfloat16(), plan, FFN(3, 4, 5)).dtype == torch.bfloat16
