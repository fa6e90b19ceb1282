from __future__ import annotations

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn import FFN, Chain, ExpertPool, LinearGate, OutputOnly, RoutedLayer, RoutingStats, SwitchLoss, TopK


def layers(count: int, stats: RoutingStats | None = None) -> list[RoutedLayer]:
    torch.manual_seed(0)
    pool = ExpertPool(FFN(4, 8, 8))
    return [
        RoutedLayer(LinearGate(8, 4), TopK(1), pool, balancers=[SwitchLoss(0.01)], statistics=stats)
        for _ in range(count)
    ]


def test_one_iteration_is_the_layer() -> None:
    (only,) = layers(1)
    x = torch.randn(2, 3, 8)
    torch.testing.assert_close(Chain([only])(x).output, only(x).output)


def test_each_iteration_sees_what_the_last_made() -> None:
    first, second = layers(2)
    x_TD = torch.randn(5, 8)
    made_TD = x_TD + first(x_TD).output
    torch.testing.assert_close(Chain([first, second])(x_TD).output, made_TD + second(made_TD).output - x_TD)
    outer = Chain([first, second], inner=False)(x_TD).output
    torch.testing.assert_close(outer, second(first(x_TD).output).output)


def test_losses_add_and_experts_are_one() -> None:
    stats = RoutingStats()
    chain = Chain(layers(3, stats))
    routed = chain(torch.randn(5, 8))
    assert routed.losses["switch_loss"].item() > 0.0299
    assert stats.tokens == 15
    assert len(list(chain.parameters())) == 2 + 3


def test_stands_where_a_layer_stands() -> None:
    block = nn.Sequential(OutputOnly(Chain(layers(2))))
    assert block(torch.randn(3, 8)).shape == (3, 8)


def test_needs_a_layer() -> None:
    with pytest.raises(RoutingError, match="at least one layer"):
        Chain([])
