from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import Hybrid, Sampled, Soft, TopK


def test_each_token_gets_the_plan_of_its_selector() -> None:
    logits_TE = torch.cat([torch.zeros(3, 4), 9 * torch.eye(4)])
    plan = Hybrid(Soft(), TopK(1))(logits_TE)
    plan.check()
    assert plan.mask_TK.sum(-1).tolist() == [4, 4, 4, 1, 1, 1, 1]
    assert torch.allclose(plan.weights_TE[:3], torch.full((3, 4), 0.25))
    assert torch.equal(plan.weights_TE[3:], torch.eye(4))


def test_gradients_reach_the_gate_through_both() -> None:
    logits_TE = torch.cat([0.1 * torch.randn(2, 4), 5 * torch.randn(2, 4)]).requires_grad_()
    Hybrid(Soft(), TopK(2))(logits_TE).weights_TE.square().sum().backward()
    assert logits_TE.grad[:2].abs().sum() > 0
    assert logits_TE.grad[2:].abs().sum() > 0


def test_an_own_condition() -> None:
    plan = Hybrid(Soft(), TopK(1), condition=lambda z: z[:, 0] > 0)(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert plan.mask_TK.sum(-1).tolist() == [2, 1]
    with pytest.raises(RoutingError, match=r"a condition must give bool \(2,\), got torch.float32 \(2, 2\)"):
        Hybrid(Soft(), TopK(1), condition=lambda z: z)(torch.zeros(2, 2))


def test_the_log_probability_is_of_the_sampled_side() -> None:
    torch.manual_seed(0)
    plan = Hybrid(Soft(), Sampled(1))(torch.tensor([[0.0, 0.0], [9.0, 0.0]]))
    assert plan.log_prob_T[0] == 0
    assert plan.log_prob_T[1] != 0
