from __future__ import annotations

import torch
from torch import nn

from turnout.nn import LinearGate, LogitAdd, Modules, RoutedLayer, TopK


def test_a_silent_complement_leaves_the_experts_distribution() -> None:
    complement = nn.Linear(8, 5)
    nn.init.zeros_(complement.weight)
    nn.init.zeros_(complement.bias)
    heads = Modules([nn.Linear(8, 5), nn.Linear(8, 5)])
    routed = RoutedLayer(LinearGate(8, 2), TopK(1), heads, combiner=LogitAdd(complement))(x := torch.randn(6, 8))
    for t, expert in enumerate(routed.plan.idx_TK[:, 0].tolist()):
        torch.testing.assert_close(routed.output[t].exp(), heads.parts[expert](x[t]).softmax(-1))


def test_the_complement_can_overrule_the_expert() -> None:
    complement = nn.Linear(8, 5)
    with torch.no_grad():
        complement.bias[3] = 50
    heads = Modules([nn.Linear(8, 5), nn.Linear(8, 5)])
    layer = RoutedLayer(LinearGate(8, 2), TopK(1), heads, combiner=LogitAdd(complement))
    assert layer(torch.randn(6, 8)).output.argmax(-1).tolist() == [3] * 6
