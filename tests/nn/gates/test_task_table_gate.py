from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import RoutingContext, TaskTableGate


def test_tokens_of_a_task_share_a_row() -> None:
    gate, task_T = TaskTableGate(3, 4, spread=1.0), torch.tensor([0, 2, 0])
    logits_TE, _ = gate(torch.randn(3, 8), RoutingContext(task_T=task_T))
    assert torch.equal(logits_TE[0], logits_TE[2])
    assert torch.equal(logits_TE, gate.table[task_T, 0])


def test_weights_of_each_block_sum_to_one() -> None:
    gate = TaskTableGate(3, 4, blocks=2, spread=1.0)
    weights_TBE = gate.weights(torch.tensor([1, 2]))
    z = gate.table[1, 0]
    assert torch.allclose(weights_TBE.sum(-1), torch.ones(2, 2))
    assert torch.allclose(weights_TBE[0, 0], z.sigmoid() / z.sigmoid().sum())


def test_new_tasks_start_at_the_mean() -> None:
    gate = TaskTableGate(3, 4, spread=1.0)
    mean = gate.table.mean(0)
    gate.grow(2)
    assert gate.tasks == 5
    assert torch.equal(gate.table[4], mean)
    assert gate.table.requires_grad


@pytest.mark.parametrize(
    ("task_T", "message"),
    [
        (None, "needs the context's task_T, got None"),
        (torch.tensor([0]), r"task_T must have shape \(2,\), got \(1,\)"),
        (torch.tensor([0, 3]), "tasks must be 0 to 2, got 0 to 3"),
    ],
)
def test_tasks_it_does_not_know_are_named(task_T: torch.Tensor | None, message: str) -> None:
    with pytest.raises(RoutingError, match=message):
        TaskTableGate(3, 4)(torch.randn(2, 8), RoutingContext(task_T=task_T))
