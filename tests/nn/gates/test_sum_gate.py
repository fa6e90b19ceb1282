from __future__ import annotations

import pytest
import torch

from turnout.errors import ParameterError
from turnout.nn import LinearGate, RecurrentGate, RoutingContext, SumGate, TaskTableGate


def test_logits_are_weighed_and_summed() -> None:
    first, second, x_TD = LinearGate(8, 4), LinearGate(8, 4), torch.randn(3, 8)
    found = SumGate([first, second], [2.0, -1.0])(x_TD)[0]
    assert torch.allclose(found, 2 * first(x_TD)[0] - second(x_TD)[0], atol=1e-6)


def test_a_doubtful_global_view_steps_back() -> None:
    table, local = TaskTableGate(2, 3), LinearGate(8, 3)
    table.table.data = torch.tensor([[[0.9, 0.0, 0.0]], [[0.5, 0.4, 0.0]]])
    gate = SumGate([table, local], [100.0, 1.0], switch=0.8, low=3.0)
    x_TD, task_T = torch.randn(2, 8), torch.tensor([0, 1])
    rest = gate(x_TD, RoutingContext(task_T=task_T))[0] - local(x_TD)[0]
    expected = torch.stack([100 * table.table[0, 0], 3 * table.table[1, 0]])
    assert torch.allclose(rest, expected, atol=1e-4)


def test_the_state_is_that_of_the_gate_that_has_one() -> None:
    gate = SumGate([RecurrentGate(8, 4, hidden=6), LinearGate(8, 4)])
    assert gate(torch.randn(3, 8))[1].shape == (3, 6)


@pytest.mark.parametrize(
    ("gates", "weights", "message"),
    [
        ([], None, r"one and the same number of experts, got \[\]"),
        ([LinearGate(8, 4), LinearGate(8, 3)], None, r"got \[4, 3\]"),
        ([LinearGate(8, 4)], [1.0, 2.0], "`weights` must be 1 numbers, got 2"),
    ],
)
def test_gates_that_do_not_fit_are_named(gates: list[LinearGate], weights: list[float] | None, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SumGate(gates, weights)
