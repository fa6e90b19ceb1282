from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from turnout.nn import FFN, L1Controller, LinearGate, ReLU, RoutedLayer, update_biases
from turnout.nn.base import Routing

Make = Callable[..., Routing]


@pytest.mark.parametrize("norm", [True, False])
def test_the_loss_is_the_mean_sum_of_the_scores_times_the_excess(routing: Make, norm: bool) -> None:
    logits_TE, mask_T = torch.randn(6, 4), torch.arange(6) < 4
    made = routing(logits_TE, select=ReLU(4, norm=norm), mask_T=mask_T)
    scores_TE = made.plan.weights_TE[:4]  # the scale of a new ReLU is 1
    excess = float((logits_TE[:4] > 0).sum()) / 4 / 1.5
    expected = 0.5 * excess**3 * scores_TE.sum().item() / 4
    assert L1Controller(1.5, start=0.5, damping=3)(made).item() == pytest.approx(expected, rel=1e-5)


def test_without_damping_it_is_the_plain_l1_loss(routing: Make) -> None:
    logits_TE = torch.randn(6, 4)
    made = routing(logits_TE, select=ReLU(4, norm=False))
    expected = 0.5 * logits_TE.relu().sum().item() / 6
    assert L1Controller(1, start=0.5, damping=0)(made).item() == pytest.approx(expected, rel=1e-5)


def test_balanced_with_damping_one_is_the_loss_of_remoe(routing: Make) -> None:
    """Σ_e f_e · mean_t s_te with f_e = E/(kT) · tokens of e."""
    logits_TE = torch.randn(10, 4)
    made = routing(logits_TE, select=ReLU(4, norm=False))
    f_E = (logits_TE > 0).sum(0) * 4 / (2 * 10)
    expected = 0.1 * (f_E * logits_TE.relu().mean(0)).sum().item()
    found = L1Controller(2, start=0.1, damping=1, balanced=True)(made).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_behind_a_norm_smaller_logits_do_not_help(routing: Make) -> None:
    logits_TE = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 3.0, -0.5], [2.0, 1.0, 4.0]])
    large, small = (L1Controller(1, start=1.0)(routing(s * logits_TE, select=ReLU(3))) for s in (1.0, 0.5))
    assert small.item() == pytest.approx(large.item(), rel=1e-4)


def test_no_tokens_give_no_loss(routing: Make) -> None:
    assert L1Controller(1, start=1.0)(routing(torch.randn(0, 4), select=ReLU(4))).item() == 0


def test_strength_moves_towards_the_target_once_a_step(routing: Make) -> None:
    many, few = (routing(sign * torch.ones(5, 4), select=ReLU(4)) for sign in (1, -1))
    control = L1Controller(2, start=1.0, factor=1.5)
    control(many)
    control(many)
    assert control.strength.item() == 1
    assert control.after_step()
    assert control.strength.item() == pytest.approx(1.5)
    control(few)
    control.after_step()
    assert control.strength.item() == pytest.approx(1.0)
    control.eval()(many)
    assert not control.after_step()


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_pass_does_not_count(reentrant: bool) -> None:
    control = L1Controller(2)
    layer = RoutedLayer(LinearGate(8, 4), ReLU(4), FFN(4, 8, 16), balancers=[control])
    x = torch.randn(16, 8, requires_grad=True)
    checkpoint(lambda x: layer(x).output, x, use_reentrant=reentrant).sum().backward()
    assert control.fired[1].item() == 16


@pytest.mark.parametrize(("norm", "bias"), [(False, True), (False, False), (True, True), (True, False)])
def test_the_controller_holds_the_number_of_experts(norm: bool, bias: bool) -> None:
    torch.manual_seed(0)
    control = L1Controller(2, start=0.01)
    layer = RoutedLayer(LinearGate(16, 8, bias=bias), ReLU(8, norm=norm), FFN(8, 16, 8), balancers=[control])
    x, target = torch.randn(64, 16) + (not bias), torch.randn(64, 16)
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)
    fired = []
    for _ in range(150):
        optimizer.zero_grad()
        routed = layer(x)
        ((routed.output - target).square().mean() + routed.losses["l1_controller"]).backward()
        optimizer.step()
        update_biases(layer)
        fired.append(routed.plan.counts_E.sum().item() / 64)
    assert fired[0] > 3
    assert 1.7 < sum(fired[-50:]) / 50 < 2.3


def test_busy_experts_are_pushed_most(routing: Make) -> None:
    logits_TE = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, -1.0]], requires_grad=True)
    L1Controller(1, start=1.0, balanced=True)(routing(logits_TE, select=ReLU(2, norm=False))).backward()
    assert logits_TE.grad[0, 0] > logits_TE.grad[0, 1] > 0
