from __future__ import annotations

import itertools

import pytest
import torch

from turnout.nn import RoutingContext, Sampled
from turnout.nn.selectors.sampled import ordered_log_prob


def test_probabilities_of_all_ordered_draws_sum_to_one() -> None:
    logits_E = torch.randn(5)
    orders = torch.tensor(list(itertools.permutations(range(5), 3)))
    total = ordered_log_prob(logits_E.expand(len(orders), -1), orders).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_drawing_every_expert_is_certain_in_the_end() -> None:
    log_prob = ordered_log_prob(torch.tensor([[1.0, 2.0]]), torch.tensor([[1, 0]]))
    assert log_prob.exp().item() == pytest.approx(torch.tensor([1.0, 2.0]).softmax(-1)[1].item())


def test_draws_follow_the_gate() -> None:
    torch.manual_seed(0)
    logits_TE = torch.tensor([0.6, 0.3, 0.1]).log().expand(20_000, 3)
    share_E = Sampled(1)(logits_TE).counts_E / 20_000
    assert torch.allclose(share_E, torch.tensor([0.6, 0.3, 0.1]), atol=0.02)


def test_evaluation_takes_the_best() -> None:
    plan = Sampled(2).eval()(torch.tensor([[0.0, 3.0, 1.0, 2.0]]))
    assert plan.idx_TK.tolist() == [[1, 3]]


def test_constant_weights_carry_no_gradient_and_the_log_probability_does() -> None:
    logits_TE = torch.randn(6, 4, requires_grad=True)
    plan = Sampled(2, weight=0.7)(logits_TE)
    assert not plan.weights_TK.requires_grad
    assert plan.weights_TK.unique().tolist() == pytest.approx([0.7])
    plan.log_prob_T.sum().backward()
    assert logits_TE.grad.abs().sum() > 0


def test_by_sequence_one_draw_whose_log_probability_adds_up() -> None:
    torch.manual_seed(0)
    logits_TE, mask_T = torch.randn(10, 6), torch.arange(10) != 4
    context = RoutingContext(sequence_T=torch.arange(2).repeat_interleave(5), mask_T=mask_T)
    plan = Sampled(2, unit="sequence")(logits_TE, context)
    first = plan.idx_TK[:4]
    assert (first == first[0]).all()
    assert plan.idx_TK[4].tolist() == [6, 6]
    expected = ordered_log_prob(logits_TE[:4].mean(0, keepdim=True), first[:1])
    assert plan.log_prob_T[:4].sum().item() == pytest.approx(expected.item(), abs=1e-5)
