from __future__ import annotations

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn import FFN, ExpertPool, LinearGate, Modules, RoutedLayer, TopK


def test_layers_train_the_same_weights() -> None:
    torch.manual_seed(0)
    pool = ExpertPool(FFN(3, 8, 4))
    model = nn.ModuleList([RoutedLayer(LinearGate(8, 3), TopK(2), pool) for _ in range(2)])
    assert len(list(model.parameters())) == 4
    x = torch.randn(6, 8)
    for layer in model:
        x = x + layer(x).output
    x.sum().backward()
    assert pool.store.down_proj.grad is not None


def test_a_view_offers_its_own_experts() -> None:
    torch.manual_seed(0)
    pool = ExpertPool(FFN(6, 8, 4))
    view = pool.view([4, 1]).view([1])
    assert view.offered == (1,)
    layer = RoutedLayer(LinearGate(8, 1), TopK(1), view)
    x_TD = torch.randn(20, 8)
    layer(x_TD).output.sum().backward()
    grad = pool.store.down_proj.grad
    assert grad is not None
    assert [bool(grad[e].any()) for e in range(6)] == [False, True, False, False, False, False]


def test_merging_a_view_mixes_what_it_offers() -> None:
    pool = ExpertPool(FFN(3, 8, 4))
    merged = pool.view([2, 0]).merged(torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(merged.down_proj[0], 0.25 * pool.store.down_proj[2] + 0.75 * pool.store.down_proj[0])


def test_bad_views() -> None:
    with pytest.raises(RoutingError, match=r"experts 0 to 2, got \[3\]"):
        ExpertPool(FFN(3, 8, 4), [3])
    with pytest.raises(RoutingError, match="needs stacked experts, got Modules"):
        ExpertPool(Modules([nn.Linear(2, 2), nn.Linear(2, 2)])).view([0])
