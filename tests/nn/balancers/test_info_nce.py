from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import InfoNCE
from turnout.nn.base import Routing

Make = Callable[..., Routing]


def test_it_is_the_formula(routing: Make) -> None:
    logits_TE = torch.randn(8, 4)
    sequence_T, task_T = torch.tensor([3, 3, 1, 1, 0, 0, 5, 5]), torch.tensor([0, 0, 1, 1, 0, 0, 2, 2])
    means = torch.stack([logits_TE[sequence_T == s].mean(0) for s in (0, 1, 3, 5)])  # tasks 0, 1, 0, 2
    alike = (means @ means.T / 0.5).fill_diagonal_(float("-inf"))
    expected = -(alike.log_softmax(-1)[0, 2] + alike.log_softmax(-1)[2, 0]) / 2
    made = routing(logits_TE, sequence_T=sequence_T, task_T=task_T)
    assert InfoNCE(4, 1.0, temperature=0.5)(made).item() == pytest.approx(expected.item(), rel=1e-4)


def test_training_on_it_tells_tasks_apart(routing: Make) -> None:
    torch.manual_seed(0)
    sequence_T = torch.arange(24) // 2
    task_T = sequence_T % 3
    logits_TE = (0.1 * torch.randn(24, 4)).requires_grad_()
    loss = InfoNCE(4, 1.0)
    optimizer = torch.optim.Adam([logits_TE], 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        found = loss(routing(logits_TE, sequence_T=sequence_T, task_T=task_T))
        found.backward()
        optimizer.step()
    assert found.item() == pytest.approx(torch.tensor(3.0).log().item(), abs=0.1)  # three companions, told apart


def test_without_companions_it_costs_nothing(routing: Make) -> None:
    alone = routing(torch.randn(4, 4), sequence_T=torch.arange(4), task_T=torch.arange(4))
    assert InfoNCE(4)(alone).item() == 0
    unlabelled = routing(torch.randn(4, 4), sequence_T=torch.arange(4), task_T=torch.full((4,), -1))
    assert InfoNCE(4)(unlabelled).item() == 0


def test_what_is_missing_is_named(routing: Make) -> None:
    with pytest.raises(RoutingError, match=r"needs the context's task_T of shape \(12,\), got None"):
        InfoNCE(4)(routing(sequence_T=torch.arange(12)))
    with pytest.raises(RoutingError, match="for 5 experts, got logits of 4"):
        InfoNCE(5)(routing(sequence_T=torch.arange(12), task_T=torch.arange(12)))
