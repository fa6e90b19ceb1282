from __future__ import annotations

import pytest
import torch
from torch import Tensor

from turnout.errors import ParameterError
from turnout.nn import FFN, Capacity, LinearGate, Plan, RoutedLayer, TopK, TopP


def plan_of(idx: list[list[int]], scores: list[float] | None = None, experts: int = 3) -> Plan:
    idx_TK = torch.tensor(idx)
    scores_TE = torch.ones(len(idx), experts) * torch.tensor(scores or [1.0] * len(idx))[:, None]
    return Plan(idx_TK, (idx_TK < experts).float(), scores_TE, scores_TE)


def kept(dispatcher: Capacity, plan: Plan) -> list[list[bool]]:
    found = dispatcher.admit(plan).kept_TK
    assert found is not None
    return found.tolist()


def test_by_position_the_last_tokens_are_dropped() -> None:
    plan = plan_of([[0, 1], [0, 2], [1, 0], [0, 1]])  # capacity ⌈.75 · 2 · 4 / 3⌉ = 2
    assert kept(Capacity(0.75), plan) == [[True, True], [True, True], [True, False], [False, False]]


def test_by_choice_first_choices_come_before_second_ones() -> None:
    plan = plan_of([[1, 0], [2, 0], [0, 1], [0, 2]])
    assert kept(Capacity(0.75), plan) == [[True, True], [True, True], [False, True], [False, True]]
    assert kept(Capacity(0.75, priority="choice"), plan) == [[True, False], [True, False], [True, True], [True, True]]


def test_a_first_choice_is_that_of_most_weight_however_slots_are_ordered() -> None:
    logits_TE = torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    plan = TopP(1.0)(logits_TE)  # of two experts a token, by number
    assert plan.idx_TK.tolist() == [[0, 1]] * 4
    chosen = [[True, False], [False, True], [False, True], [True, False]]  # two rows an expert
    assert kept(Capacity(0.5, priority="choice"), plan) == chosen
    assert kept(Capacity(0.5, priority="batch"), plan) == chosen


def test_a_capacity_without_remainder_is_not_rounded_up() -> None:
    plan = Plan(torch.zeros(100, 1, dtype=torch.int64), torch.ones(100, 1), torch.zeros(100, 11), torch.zeros(100, 11))
    assert Capacity(1.1).capacity(plan) == 10


def test_by_batch_the_highest_scores_come_first() -> None:
    plan = plan_of([[0], [0], [0], [0]], scores=[0.1, 0.9, 0.5, 0.7])  # capacity 2
    assert kept(Capacity(1.0, priority="batch"), plan) == [[False], [True], [False], [True]]


@pytest.mark.parametrize(("factor", "capacity"), [(1.0, 2), (3.0, 4), (0, 3), (-1.0, 2), (-3.0, 3)])
def test_the_sign_of_the_factor(factor: float, capacity: int) -> None:
    assert Capacity(factor).capacity(plan_of([[0], [0], [0], [1]])) == capacity


def test_empty_slots_take_no_room() -> None:
    plan = plan_of([[3, 3], [0, 3], [3, 0], [0, 1]])
    assert kept(Capacity(0.75), plan) == [[False, False], [True, False], [False, True], [False, True]]


@pytest.mark.parametrize("priority", ["token", "choice", "batch"])
@pytest.mark.parametrize("factor", [0.3, 0.7, 1.0, -0.5])
def test_padded_and_dropped_are_one_function(priority: str, factor: float) -> None:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    x_TD = torch.randn(21, 8)

    def run(pad: bool) -> tuple[Tensor, list[Tensor]]:
        layer.dispatcher = Capacity(factor, priority=priority, pad=pad)
        output = layer(x_TD).output
        return output, list(torch.autograd.grad(output.square().sum(), list(layer.parameters())))

    (padded, of_padded), (ragged, of_ragged) = run(True), run(False)
    torch.testing.assert_close(padded, ragged)
    torch.testing.assert_close(of_padded, of_ragged, rtol=1e-4, atol=1e-5)


def test_a_dropped_slot_adds_nothing_and_takes_no_gradient() -> None:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 2), TopK(1, normalize=False), FFN(2, 8, 8), dispatcher=Capacity(0.25))
    x_TD = torch.randn(16, 8, requires_grad=True)
    routed = layer(x_TD)
    kept_T = routed.plan.kept_TK[:, 0]
    routed.output.sum().backward()
    assert 0 < int(kept_T.sum()) <= 4
    assert not routed.output[~kept_T].any()
    assert x_TD.grad is not None
    assert x_TD.grad.any(-1).tolist() == kept_T.tolist()


def test_balancers_see_the_demand_before_drops() -> None:
    layer = RoutedLayer(LinearGate(8, 2), TopK(1), FFN(2, 8, 8), dispatcher=Capacity(0.1))
    assert int(layer(torch.randn(30, 8)).plan.counts_E.sum()) == 30


def test_the_factor_may_change_between_calls() -> None:
    layer = RoutedLayer(LinearGate(8, 2), TopK(1), FFN(2, 8, 8), dispatcher=Capacity(0.1))
    x_TD = torch.randn(30, 8)
    few = layer(x_TD).output
    layer.dispatcher.factor = 0
    assert layer(x_TD).plan.kept_TK is None
    assert not torch.equal(few, layer(x_TD).output)


def test_bad_parameters() -> None:
    with pytest.raises(ParameterError, match="`priority` must be one of 'token', 'choice', 'batch', got 'last'"):
        Capacity(priority="last")


@pytest.mark.parametrize("factor", [0.0, 0.6])
def test_block_by_block_the_same_rows_are_dropped(factor: float, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(6, 4), TopK(2), FFN(4, 6, 5), dispatcher=Capacity(factor))
    x_TD = torch.randn(40, 6, requires_grad=True)

    def results() -> list[Tensor]:
        y_TM = layer(x_TD).output
        return [y_TM, *torch.autograd.grad(y_TM.square().sum(), [x_TD, *layer.parameters()])]

    wanted = results()
    request.getfixturevalue("onednn")
    assert layer.experts.quick(80)
    torch.testing.assert_close(results(), wanted, rtol=1e-4, atol=1e-5)
