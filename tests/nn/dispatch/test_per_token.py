from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from turnout.errors import RoutingError
from turnout.nn import FFN, Plan
from turnout.nn.base import Experts, Segments
from turnout.nn.dispatch._segments import RowSegments
from turnout.nn.dispatch.dense import Dense
from turnout.nn.dispatch.per_token import PerToken


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.usefixtures("threads")
def test_a_row_is_multiplied_by_its_own_matrix(dtype: torch.dtype, flipped: bool) -> None:
    expert_N, x_NI = torch.tensor([2, 0, 2]), torch.randn(3, 70, dtype=dtype)
    weight_EOI = torch.randn(3, 70, 50, dtype=dtype).transpose(1, 2) if flipped else torch.randn(3, 50, 70, dtype=dtype)
    expected_NO = torch.einsum("noi,ni->no", weight_EOI[expert_N], x_NI)
    with_gradient = RowSegments(expert_N, 3).linear(x_NI, weight_EOI.requires_grad_())
    torch.testing.assert_close(with_gradient, expected_NO)
    with torch.no_grad():
        torch.testing.assert_close(RowSegments(expert_N, 3).linear(x_NI, weight_EOI), expected_NO)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own, on the way into that mode
def test_rows_keep_their_derivatives_in_forward_mode() -> None:
    expert_N, weight_EOI = torch.tensor([1, 0]), torch.randn(2, 5, 7)
    x_NI, tangent_NI = torch.randn(2, 7), torch.randn(2, 7)
    with torch.no_grad(), forward_ad.dual_level():
        made = RowSegments(expert_N, 2).linear(forward_ad.make_dual(x_NI, tangent_NI), weight_EOI)
        found = forward_ad.unpack_dual(made).tangent
    assert found is not None
    torch.testing.assert_close(found, torch.einsum("noi,ni->no", weight_EOI[expert_N], tangent_NI))


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("gradients", [False, True])
def test_one_token_by_fewer_operators_gets_what_several_get(tokens: int, gradients: bool) -> None:
    torch.manual_seed(0)
    pool, x_TD = FFN(4, 8, 16), torch.randn(tokens, 8)
    idx_TK = torch.stack([torch.randperm(4)[:2] for _ in range(tokens)])
    plan = Plan(idx_TK, torch.rand(tokens, 2), torch.zeros(tokens, 4), torch.zeros(tokens, 4), full=True)
    with torch.set_grad_enabled(gradients):
        assert torch.allclose(PerToken().weighted(x_TD, plan, pool), Dense().weighted(x_TD, plan, pool), atol=1e-6)
