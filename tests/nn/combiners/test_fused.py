"""Mixing in one pass equals dispatching."""

from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import FFN, Capacity, Constant, Fused, LinearGate, LoRA, RoutedLayer, Soft, TopK, WeightedSum


@pytest.mark.parametrize("selector", [TopK(1), TopK(3), Soft()])
def test_equals_dispatch_in_value_and_gradient(selector: torch.nn.Module) -> None:
    torch.manual_seed(0)
    gate, pool = LinearGate(8, 5), LoRA(5, 8, 6, rank=3)
    torch.nn.init.normal_(pool.lora_B)
    x = torch.randn(7, 8, requires_grad=True)
    found = []
    for combiner in (WeightedSum(), Fused()):
        layer = RoutedLayer(gate, selector, pool, combiner=combiner)
        y = layer(x).output
        found.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("priority", ["token", "choice"])
def test_what_a_capacity_drops_is_dropped(pad: bool, priority: str) -> None:
    torch.manual_seed(0)
    gate, pool = LinearGate(8, 4), LoRA(4, 8, rank=2)
    torch.nn.init.normal_(pool.lora_B)
    x = torch.randn(16, 8, requires_grad=True)
    found = []
    for combiner in (WeightedSum(), Fused(), Constant(1.0), Fused(weight=1.0)):
        dispatcher = Capacity(0.5, priority=priority, pad=pad)
        layer = RoutedLayer(gate, TopK(2), pool, combiner=combiner, dispatcher=dispatcher)
        routed = layer(x)
        assert not bool(routed.plan.kept_TK.all())
        parameters = [x, *pool.parameters()]
        found.append((routed.output, *torch.autograd.grad(routed.output.square().sum(), parameters)))
    for one, other in (found[:2], found[2:]):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_refuses_experts_that_cannot_be_mixed() -> None:
    layer = RoutedLayer(LinearGate(4, 2), TopK(1), FFN(2, 4, 8), combiner=Fused())
    with pytest.raises(RoutingError, match="FFN does not"):
        layer(torch.randn(3, 4))


def test_a_constant_weight_replaces_scores() -> None:
    torch.manual_seed(0)
    pool = LoRA(4, 8, rank=2)
    torch.nn.init.normal_(pool.lora_B)
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), pool, combiner=Fused(weight=1.0))
    x = torch.randn(5, 8)
    routed = layer(x)
    chosen = routed.plan.chosen_TE
    expected = sum(chosen[:, e, None] * (x @ pool.delta(e).T) for e in range(4))
    torch.testing.assert_close(routed.output, expected)
