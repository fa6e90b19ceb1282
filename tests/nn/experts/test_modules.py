from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from turnout.errors import RoutingError
from turnout.nn import LinearGate, Modules, RoutedLayer, TopK


class Summary(nn.Module):
    """A GRU over a row read as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(2, 3, batch_first=True)

    def forward(self, x_ND: Tensor) -> Tensor:
        assert x_ND.shape[0]
        last: Tensor = self.gru(x_ND.view(-1, 4, 2))[0][:, -1]
        return last


def test_a_gru_beside_a_network() -> None:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 2), TopK(1, normalize=False), Modules([Summary(), nn.Linear(8, 3)]))
    layer(torch.randn(20, 8)).output.square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert layer.dispatcher.pick(layer(torch.randn(2, 8)).plan, layer.experts).name == "module_loop"


def test_a_module_without_rows_is_not_called() -> None:
    pool = Modules([Summary(), nn.Linear(8, 3)])
    layer = RoutedLayer(LinearGate(8, 2, bias=True), TopK(1), pool)
    nn.init.zeros_(layer.gate.linear.weight)
    with torch.no_grad():
        layer.gate.linear.bias.copy_(torch.tensor([0.0, 9.0]))
    assert layer(torch.randn(5, 8)).plan.counts_E.tolist() == [0, 5]


def test_outputs_of_two_widths_are_refused() -> None:
    layer = RoutedLayer(LinearGate(8, 2), TopK(2), Modules([nn.Linear(8, 3), nn.Linear(8, 4)]))
    with pytest.raises(RoutingError, match=r"outputs of one width"):
        layer(torch.randn(5, 8))
    with pytest.raises(RoutingError, match="at least one module"):
        Modules([])
