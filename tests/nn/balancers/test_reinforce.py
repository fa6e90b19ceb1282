from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import Reinforce, RoutingContext, Sampled, TopK


def test_the_gradient_is_unbiased() -> None:
    """Against the exact gradient of the expected cost of drawing one of three arms."""
    torch.manual_seed(0)
    costs_E = torch.tensor([1.0, 2.0, 4.0])
    logits = torch.tensor([[0.2, -0.1, 0.4]], requires_grad=True)
    (costs_E * logits.softmax(-1)).sum().backward()
    exact, logits.grad = logits.grad.clone(), None
    select, estimate = Sampled(1), Reinforce()
    for _ in range(100):
        plans = [select(logits.expand(128, 3)) for _ in range(4)]
        losses = torch.stack([costs_E[plan.idx_TK[:, 0]] for plan in plans])
        log_probs = torch.stack([plan.log_prob_T for plan in plans])
        (estimate.estimate(losses, log_probs) / 100).backward()
    assert torch.allclose(logits.grad, exact, atol=0.03)


def test_it_learns_the_best_pair_of_experts() -> None:
    torch.manual_seed(0)
    logits = torch.zeros(1, 4, requires_grad=True)
    optimizer, select = torch.optim.Adam([logits], 0.1), Sampled(2)
    for _ in range(150):
        plans = [select(logits) for _ in range(4)]
        losses = torch.tensor([float(2 - plan.chosen_TE[0, 1].int() - plan.chosen_TE[0, 3].int()) for plan in plans])
        optimizer.zero_grad()
        Reinforce().estimate(losses, torch.stack([Reinforce().log_prob([plan]) for plan in plans])).backward()
        optimizer.step()
    assert sorted(logits[0].topk(2).indices.tolist()) == [1, 3]


def test_log_probabilities_add_over_layers_and_tokens_without_padding() -> None:
    torch.manual_seed(0)
    mask_T = torch.tensor([True, True, False])
    plans = [Sampled(2)(torch.randn(3, 4), RoutingContext(mask_T=mask_T)) for _ in range(2)]
    expected = sum(plan.log_prob_T[:2].sum() for plan in plans)
    assert Reinforce().log_prob(plans).item() == pytest.approx(expected.item(), rel=1e-5)
    by_sequence = Reinforce().log_prob(plans, torch.tensor([0, 1, 1]))
    assert by_sequence.sum().item() == pytest.approx(expected.item(), rel=1e-5)
    assert by_sequence.shape == (2,)


def test_what_cannot_work_is_named() -> None:
    with pytest.raises(RoutingError, match="plans of a `Sampled` selector"):
        Reinforce().log_prob([TopK(1)(torch.zeros(1, 2))])
    with pytest.raises(RoutingError, match="at least one plan"):
        Reinforce().log_prob([])
    with pytest.raises(RoutingError, match="two passes or more"):
        Reinforce().estimate(torch.zeros(1), torch.zeros(1))
