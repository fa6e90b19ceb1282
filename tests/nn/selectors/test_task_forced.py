from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import ParameterError, RoutingError
from turnout.nn import RoutingContext, TaskForced, TopK


@given(st.integers(0, 1000), st.integers(1, 4))
def test_every_token_has_its_tasks_expert_and_k_distinct_ones(seed: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits_TE = torch.randn(20, 6, generator=generator)
    task_T = torch.randint(3, (20,), generator=generator)
    plan = TaskForced([5, 0, 0], k=k)(logits_TE, RoutingContext(task_T=task_T))
    plan.check()
    own_T = torch.tensor([5, 0, 0])[task_T]
    assert (plan.idx_TK == own_T[:, None]).any(1).all()
    assert plan.mask_TK.all()
    assert plan.weights_TK.sum(1).tolist() == pytest.approx([1.0] * 20)


def test_a_token_whose_expert_is_chosen_anyway_keeps_its_plan() -> None:
    logits_TE = torch.randn(30, 4)
    plain = TopK(2)(logits_TE)
    forced = TaskForced([int(e) for e in range(4)], k=2)(logits_TE, RoutingContext(task_T=plain.idx_TK[:, 1]))
    assert torch.equal(forced.idx_TK, plain.idx_TK)
    assert torch.allclose(forced.weights_TK, plain.weights_TK)


def test_without_tasks_it_is_top_k() -> None:
    logits_TE = torch.randn(9, 4)
    plain = TopK(2)(logits_TE)
    assert torch.equal(TaskForced([0])(logits_TE).idx_TK, plain.idx_TK)
    unknown = RoutingContext(task_T=torch.full((9,), -1))
    assert torch.equal(TaskForced([0])(logits_TE, unknown).idx_TK, plain.idx_TK)


def test_the_gate_learns_through_the_forced_expert() -> None:
    logits_TE = torch.tensor([[3.0, 2.0, -1.0]], requires_grad=True)
    plan = TaskForced([2])(logits_TE, RoutingContext(task_T=torch.tensor([0])))
    plan.weights_TK[0, 1].backward()
    assert logits_TE.grad is not None
    assert logits_TE.grad[0, 2] > 0


def test_a_silenced_expert_is_not_forced() -> None:
    logits_TE = torch.tensor([[3.0, 2.0, float("-inf")]])
    plan = TaskForced([2])(logits_TE, RoutingContext(task_T=torch.tensor([0])))
    assert plan.idx_TK.tolist() == [[0, 1]]


def test_unknown_tasks_and_experts_are_named() -> None:
    logits_TE = torch.randn(2, 3)
    with pytest.raises(RoutingError, match="knows tasks 0 to 1, got 4"):
        TaskForced([0, 1])(logits_TE, RoutingContext(task_T=torch.tensor([0, 4])))
    with pytest.raises(RoutingError, match="expert 7 of a task is none of 3"):
        TaskForced([7])(logits_TE, RoutingContext(task_T=torch.tensor([0, 0])))
    with pytest.raises(RoutingError, match=r"shape \(2,\), got \(3,\)"):
        TaskForced([0])(logits_TE, RoutingContext(task_T=torch.zeros(3, dtype=torch.long)))
    with pytest.raises(ParameterError, match=r"got \[\]"):
        TaskForced([])
