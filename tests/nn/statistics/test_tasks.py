from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn.statistics import Trace, delta_frequency, divergence, npmi, task_information


def test_npmi_is_zero_for_an_expert_that_serves_all_alike() -> None:
    idx_TK = torch.tensor([[0, 1], [0, 1], [0, 2], [0, 2]])
    found = npmi(Trace.of(idx_TK, 4, task_T=torch.tensor([0, 0, 5, 5])))
    assert found.shape == (2, 4)
    assert found[:, 0].tolist() == pytest.approx([0, 0])
    assert found[0, 1] > 0.4
    assert found[0, 3] == found[0, 2] == -1


def test_npmi_of_the_only_pair_is_one() -> None:
    trace = Trace.of(torch.zeros(3, 1, dtype=torch.long), 2, task_T=torch.zeros(3))
    assert npmi(trace).tolist() == [[1.0, -1.0]]


def test_task_information_is_the_tasks_entropy_where_experts_are_the_tasks() -> None:
    tasks = torch.arange(40) % 4
    assert task_information(Trace.of(tasks[:, None], 4, task_T=tasks)) == pytest.approx(2.0)


def test_differences_between_corpora() -> None:
    first, second = Trace.of(torch.tensor([[0, 1], [0, 2]]), 4), Trace.of(torch.tensor([[0, 3], [3, 2]]), 4)
    assert delta_frequency(first, second).tolist() == [0.5, 0.5, 0.0, -1.0]
    assert divergence(first, first) == 0
    assert divergence(first, second) == divergence(second, first) > 0.2


def test_corpora_must_be_comparable() -> None:
    with pytest.raises(RoutingError, match="the same experts, got 2 and 3"):
        divergence(Trace.of(torch.zeros(1, 1).long(), 2), Trace.of(torch.zeros(1, 1).long(), 3))
    with pytest.raises(RoutingError, match="at least one token"):
        delta_frequency(Trace.of(torch.zeros(1, 1).long(), 2), Trace.of(torch.zeros(0, 1).long(), 2))
    with pytest.raises(RoutingError, match="no token of the trace has an expert"):
        npmi(Trace.of(torch.full((2, 1), 2), 2, task_T=torch.zeros(2)))
