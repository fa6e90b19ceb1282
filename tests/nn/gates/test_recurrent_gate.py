from __future__ import annotations

import pytest
import torch
from torch import nn

from turnout.errors import ParameterError, RoutingError
from turnout.nn import RecurrentGate, RoutingContext


def test_it_is_the_gru_of_torch() -> None:
    gate, x_TD, state_TH = RecurrentGate(8, 4, hidden=6), torch.randn(5, 8), torch.randn(5, 6)
    logits_TE, state = gate(x_TD, RoutingContext(state=state_TH))
    expected_TH = gate.cell(gate.enter(x_TD), state_TH)
    assert torch.allclose(state, expected_TH, atol=1e-6)
    assert torch.allclose(logits_TE, gate.leave(expected_TH), atol=1e-6)


def test_a_choice_depends_on_the_layer_below_and_its_gate_learns_from_it() -> None:
    torch.manual_seed(0)
    first, second = RecurrentGate.stack(2, 8, 4, hidden=6)
    x_TD = torch.randn(5, 8)
    _, state = first(x_TD)
    logits_TE, _ = second(x_TD, RoutingContext().after(state))
    assert not torch.allclose(logits_TE, second(x_TD)[0])
    logits_TE.sum().backward()
    assert first.enter.weight.grad.abs().sum() > 0


def test_one_cell_for_all_layers() -> None:
    gates = nn.ModuleList(RecurrentGate.stack(3, 8, 4, hidden=6))
    assert sum(p.numel() for p in gates.parameters()) == 3 * (8 * 6 + 6 * 4) + 2 * (3 * 6 * 6 + 3 * 6)


def test_a_state_of_another_shape_and_a_foreign_cell_are_named() -> None:
    gate = RecurrentGate(8, 4, hidden=6)
    with pytest.raises(RoutingError, match=r"state must have shape \(5, 6\), got \(4, 6\)"):
        gate(torch.randn(5, 8), RoutingContext(state=torch.zeros(4, 6)))
    with pytest.raises(ParameterError, match="a shared cell must be 6 → 6, got 8 → 6"):
        RecurrentGate(8, 4, hidden=6, cell=nn.GRUCell(8, 6))
