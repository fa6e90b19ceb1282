from __future__ import annotations

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn import CrossAttention, LinearGate, Modules, RoutedLayer, TopK


def test_without_a_query_the_gates_weights_decide() -> None:
    torch.manual_seed(0)
    combiner, encoders = CrossAttention(8, 6, heads=2), Modules([nn.Linear(8, 6) for _ in range(3)])
    nn.init.zeros_(combiner.query.weight)
    layer = RoutedLayer(LinearGate(8, 3), TopK(2), encoders, combiner=combiner)
    routed = layer(x_TD := torch.randn(4, 8))
    outputs_TEM = torch.stack([part(x_TD) for part in encoders.parts], 1)
    mean_TM = torch.einsum("te,tem->tm", routed.plan.weights_TE, outputs_TEM)
    torch.testing.assert_close(routed.output, combiner.out(combiner.value(mean_TM)))
    routed.output.sum().backward()
    assert layer.gate.linear.weight.grad is not None
    assert layer.gate.linear.weight.grad.any()


def test_heads_must_divide() -> None:
    with pytest.raises(RoutingError, match="heads must divide the width, got 3 of 8"):
        CrossAttention(8, 6, heads=3)
