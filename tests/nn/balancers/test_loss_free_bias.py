from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from turnout.nn import FFN, LinearGate, LossFreeBias, RoutedLayer, TopK, update_biases


def layer(rate: float = 0.01, k: int = 2) -> tuple[RoutedLayer, LossFreeBias]:
    bias = LossFreeBias(4, rate)
    return RoutedLayer(LinearGate(8, 4), TopK(k, score="sigmoid"), FFN(4, 8, 16), balancers=[bias]), bias


def test_once_per_optimizer_step_under_gradient_accumulation() -> None:
    """A peer moved it per micro-batch: it must see the sum of both, which no half of it shows."""
    routed, bias = layer(rate=0.1, k=1)
    routed.gate.linear.weight.data = torch.eye(4, 8)
    wanted = {0: 5, 1: 1, 2: 1, 3: 1}
    rows = torch.eye(4, 8)
    for expert, count in wanted.items():
        routed(rows[expert].expand(count, 8))
        assert bias.bias_E.abs().sum() == 0
    assert update_biases(routed) == 1
    assert bias.bias_E.tolist() == pytest.approx([-0.15, 0.05, 0.05, 0.05])
    assert update_biases(routed) == 0


def test_centred_after_every_step() -> None:
    torch.manual_seed(0)
    routed, bias = layer(rate=0.3, k=1)
    for _ in range(20):
        routed(torch.randn(50, 8) + 1)
        update_biases(routed)
        assert bias.bias_E.sum().item() == pytest.approx(0, abs=1e-5)
    assert bias.bias_E.abs().max() > 0.1


def test_it_balances_without_a_loss() -> None:
    torch.manual_seed(0)
    routed, _ = layer(rate=0.01)
    x = torch.randn(400, 8) + 1
    for _ in range(200):
        found = routed(x)
        assert not found.losses
        update_biases(routed)
    counts_E = found.plan.counts_E.float()
    assert counts_E.max() / counts_E.mean() - 1 < 0.15


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_does_not_count_twice(reentrant: bool) -> None:
    routed, bias = layer()
    x = torch.randn(16, 8, requires_grad=True)
    checkpoint(lambda x: routed(x).output, x, use_reentrant=reentrant).sum().backward()
    assert bias.counts_E.sum().item() == 32


def test_evaluation_neither_counts_nor_moves() -> None:
    routed, bias = layer()
    routed.eval()(torch.randn(16, 8))
    assert bias.counts_E.sum().item() == 0
    assert update_biases(routed) == 0


def test_a_partly_routed_model_still_moves() -> None:
    """In a peer one layer without a bias stopped the updates of all."""
    routed, bias = layer()
    plain = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    idle, _ = layer()
    model = nn.Sequential(nn.Linear(8, 8), plain, idle, routed)
    x = torch.randn(16, 8)
    plain(x)
    routed(x)
    assert update_biases(model) == 1
    assert bias.bias_E.abs().sum() > 0


def test_padding_is_not_counted_and_weights_do_not_see_the_bias() -> None:
    from turnout.nn import RoutingContext

    routed, bias = layer()
    routed(torch.randn(10, 8), RoutingContext(mask_T=torch.arange(10) < 4))
    assert bias.counts_E.sum().item() == 8
    x = torch.randn(5, 8)
    before = routed(x)
    bias.bias.fill_(7.0)
    after = routed(x)
    assert torch.equal(before.plan.weights_TK, after.plan.weights_TK)


def test_the_bias_is_saved_and_the_counts_are_not() -> None:
    routed, _ = layer()
    assert [name for name in routed.state_dict() if "balancers" in name] == ["balancers.0.bias"]
