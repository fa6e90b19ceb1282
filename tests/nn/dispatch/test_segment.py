from __future__ import annotations

import pytest
import torch
from torch import Tensor

from turnout import registry
from turnout.nn import FFN, Dense, Grouped, LinearGate, Plan, RoutedLayer, Segment, TopK, _products
from turnout.nn.base import Dispatcher
from turnout.nn.experts import _blocked
from turnout.nn.experts._blocked import Rows, blocked_ffn


def results(dispatcher: Dispatcher, experts: FFN, plan: Plan, x_TD: Tensor) -> list[Tensor]:
    y_TM = dispatcher.weighted(x_TD, plan, experts)
    found = torch.autograd.grad(y_TM.square().sum(), [x_TD, plan.weights_TK, *experts.parameters()])
    return [y_TM, *found]


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", ["silu", "gelu", "relu", "relu2", "identity"])
def test_blocks_of_rows_equal_dense(activation: str, gated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks of 3 rows every expert has several, the last of another height."""
    monkeypatch.setattr(_blocked, "ROWS", 3)
    torch.manual_seed(0)
    experts, x_TD = FFN(3, 6, 5, activation=activation, gated=gated), torch.randn(22, 6, requires_grad=True)
    idx_TK = torch.rand(22, 3).topk(2).indices
    plan = Plan(idx_TK, torch.rand(22, 2, requires_grad=True), torch.rand(22, 3), torch.rand(22, 3), full=True)
    found, wanted = (results(dispatcher, experts, plan, x_TD) for dispatcher in (Segment(), Dense()))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [3, 1024])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", ["silu", "gelu", "relu", "relu2", "identity"])
def test_rows_that_fill_up_a_step_change_nothing(
    activation: str, gated: bool, rows: int, onednn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By oneDNN's products; one expert has no row, another more than a step of them."""
    monkeypatch.setattr(_blocked, "ROWS", rows)
    torch.manual_seed(0)
    experts, x_TD = FFN(4, 6, 5, activation=activation, gated=gated), torch.randn(40, 6, requires_grad=True)
    idx_TK = torch.multinomial(torch.tensor([[0.0, 0.1, 0.2, 0.7]]).expand(40, 4), 2)
    plan = Plan(idx_TK, torch.rand(40, 2, requires_grad=True), torch.rand(40, 4), torch.rand(40, 4), full=True)
    found, wanted = (results(dispatcher, experts, plan, x_TD) for dispatcher in (Segment(), Dense()))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_second_derivative_is_right_with_rows_that_fill_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blocked, "best", lambda *_: _products.Products())
    torch.manual_seed(0)
    how = Rows(torch.tensor([0, 2, 1]), (1, 0, 2), "silu", gated=True)
    shapes = ((3, 4), (3,), (3, 6, 4), (3, 4, 3))
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *given: blocked_ffn(*given, how), inputs)
    assert torch.autograd.gradgradcheck(lambda *given: blocked_ffn(*given, how), inputs)


@pytest.mark.parametrize("frozen", ["gate_up_proj", "down_proj", "x", "weights"])
def test_what_needs_no_gradient_gets_none(frozen: str) -> None:
    torch.manual_seed(0)
    experts, x_TD = FFN(3, 4, 5), torch.randn(8, 4)
    plan = Plan(torch.rand(8, 3).topk(2).indices, torch.rand(8, 2), torch.rand(8, 3), torch.rand(8, 3), full=True)
    sources = {"x": x_TD, "weights": plan.weights_TK, **dict(experts.named_parameters())}
    for name, source in sources.items():
        source.requires_grad_(name != frozen)
    others = [source for name, source in sources.items() if name != frozen]
    found, wanted = (
        torch.autograd.grad(dispatcher.weighted(x_TD, plan, experts).square().sum(), others)
        for dispatcher in (Segment(), Dense())
    )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dispatcher", [Segment(), Grouped()])
@pytest.mark.parametrize("at_once", [True, False])
def test_the_second_derivative_is_right(dispatcher: Dispatcher, at_once: bool) -> None:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(5, 3), TopK(2), FFN(3, 5, 4)).double()
    x_TD = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    plan = layer(x_TD).plan
    weights_TK = plan.weights_TK.detach().double().requires_grad_()

    def output(x_TD: Tensor, weights_TK: Tensor) -> Tensor:
        given = Plan(plan.idx_TK, weights_TK, plan.scores_TE, plan.logits_TE, full=True)
        if at_once:
            return dispatcher.weighted(x_TD, given, layer.experts)
        return dispatcher(x_TD, given, layer.experts).weighted_sum(weights_TK)

    assert torch.autograd.gradcheck(output, (x_TD, weights_TK))
    assert torch.autograd.gradgradcheck(output, (x_TD, weights_TK))


def test_without_gradients_nothing_is_kept() -> None:
    torch.manual_seed(0)
    experts, x_TD = FFN(3, 4, 5), torch.randn(8, 4)
    plan = Plan(torch.rand(8, 3).topk(2).indices, torch.rand(8, 2), torch.rand(8, 3), torch.rand(8, 3), full=True)
    wanted = Segment().weighted(x_TD, plan, experts)
    with torch.no_grad():
        found = Segment().weighted(x_TD, plan, experts)
    assert found.grad_fn is None
    torch.testing.assert_close(found, wanted)


def test_every_activation_of_a_network_has_its_derivative() -> None:
    assert (
        set(_blocked.BACKWARD)
        == set(_blocked.ACTIVATIONS)
        == set(registry.get("experts", "ffn").rules["activation"].options)
    )
