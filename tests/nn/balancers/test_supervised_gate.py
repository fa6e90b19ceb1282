from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import Soft, SupervisedGate
from turnout.nn.base import Routing

Make = Callable[..., Routing]
TARGETS = [[1.0, 0.0], [0.0, 1.0]]


def test_the_square_is_over_labelled_tokens_that_are_no_padding(routing: Make) -> None:
    logits_TE = torch.randn(5, 2)
    task_T, mask_T = torch.tensor([0, 1, -1, 0, 1]), torch.tensor([1, 1, 1, 1, 0], dtype=torch.bool)
    made = routing(logits_TE, select=Soft(), task_T=task_T, mask_T=mask_T)
    w = logits_TE.softmax(-1)
    rows = [((w[t] - torch.tensor(TARGETS[task])) ** 2).sum() for t, task in ((0, 0), (1, 1), (3, 0))]
    assert SupervisedGate(TARGETS)(made).item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-5)


def test_cross_entropy_classifies(routing: Make) -> None:
    logits_TE, task_T = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    made = routing(logits_TE, task_T=task_T)
    expected = torch.nn.functional.cross_entropy(logits_TE, task_T).item()
    assert SupervisedGate(TARGETS, loss="cross_entropy")(made).item() == pytest.approx(expected, rel=1e-5)


def test_without_a_label_it_costs_nothing(routing: Make) -> None:
    assert SupervisedGate(TARGETS)(routing(torch.randn(2, 2), task_T=torch.tensor([-1, -1]))).item() == 0


def test_what_does_not_fit_is_named(routing: Make) -> None:
    with pytest.raises(RoutingError, match=r"needs the context's task_T of shape \(2,\), got None"):
        SupervisedGate(TARGETS)(routing(torch.randn(2, 2)))
    with pytest.raises(RoutingError, match="has 2 tasks, got task 2"):
        SupervisedGate(TARGETS)(routing(torch.randn(2, 2), task_T=torch.tensor([2, 0])))
    with pytest.raises(RoutingError, match="rows have 2 experts, not 4"):
        SupervisedGate(TARGETS)(routing(torch.randn(2, 4), task_T=torch.tensor([1, 0])))


def test_a_silenced_expert_that_is_no_target_costs_nothing_of_its_own(routing: Make) -> None:
    logits_TE = torch.tensor([[1.0, 2.0, float("-inf")]], requires_grad=True)
    told = SupervisedGate([[0.0, 1.0, 0.0]], loss="cross_entropy")
    loss = told(routing(logits_TE, select=Soft(), task_T=torch.zeros(1, dtype=torch.int64)))
    assert loss is not None
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    loss.backward()
    assert logits_TE.grad is not None
    assert bool(logits_TE.grad.isfinite().all())
