"""Checks on selectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from turnout.nn import testing
from turnout.nn._contract._common import counted_once
from turnout.nn._contract._refusal import refusal, refused

__all__ = [
    "a_bias_chooses_or_is_refused",
    "a_ragged_mask_and_nan_are_refused",
    "a_token_is_routed_by_itself",
    "more_experts_than_there_are_is_refused",
    "padding_gets_no_expert",
    "recomputation_counts_once",
    "silenced_experts_are_never_chosen",
    "the_gate_learns",
    "weights_are_float32_and_finite",
]

Make = Callable[..., Any]
EXPERTS = testing.EXPERTS


def weights_are_float32_and_finite(make: Make) -> None:
    """A plan that checks, with finite float32 weights, 0 in empty slots, for float32 and bfloat16 logits."""
    for dtype in (torch.float32, torch.bfloat16):
        for training in (True, False):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                plan = make().train(training)(torch.randn(12, EXPERTS).to(dtype), testing.context(12))
            plan.check()
            assert plan.weights_TK.dtype == torch.float32, f"weights are {plan.weights_TK.dtype}"
            assert bool(torch.isfinite(plan.weights_TK).all()), "weights are not finite"
            assert not plan.weights_TK[~plan.mask_TK].any(), "an empty slot has a weight"
            assert plan.scores_TE.shape == plan.logits_TE.shape == (12, EXPERTS), "scores or logits are not [T, E]"


def padding_gets_no_expert(make: Make) -> None:
    """Padding has no expert, and what stands in it changes no real token's plan."""
    mask_T = torch.arange(12) % 4 != 3
    logits_TE = torch.randn(12, EXPERTS)
    plans = []
    for filling in (0.0, 50.0):
        torch.manual_seed(0)
        changed_TE = torch.where(mask_T[:, None], logits_TE, filling * torch.arange(EXPERTS))
        plans.append(make()(changed_TE, testing.context(12, mask_T=mask_T)))
    assert not plans[0].chosen_TE[~mask_T].any(), "padding has an expert"
    assert torch.equal(plans[0].chosen_TE, plans[1].chosen_TE), "padding changes the plan"
    assert torch.allclose(plans[0].weights_TE, plans[1].weights_TE, atol=1e-6), "padding changes the weights"


def silenced_experts_are_never_chosen(make: Make) -> None:
    """−inf keeps an expert out, in training and in evaluation; no expert at all raises RoutingError or chooses none."""
    logits_TE = torch.randn(12, EXPERTS)
    logits_TE[:, 1] = float("-inf")
    logits_TE[:6, 2] = float("-inf")
    for training in (True, False):
        plan = make().train(training)(logits_TE, testing.context(12))
        assert not plan.chosen_TE[logits_TE == float("-inf")].any(), "a silenced expert is chosen"
        assert bool(torch.isfinite(plan.weights_TK).all()), "weights are not finite"
    nobody_TE = torch.full((4, EXPERTS), float("-inf"))
    if refusal(lambda: make()(nobody_TE, testing.context(4))) is not None:
        return
    plan = make()(nobody_TE, testing.context(4))
    assert not plan.chosen_TE.any(), "a silenced expert is chosen"
    assert bool(torch.isfinite(plan.weights_TK).all()), "weights are not finite where all are silenced"


def the_gate_learns(make: Make) -> None:
    """Weights, or the log-probability of a draw, carry a gradient to the logits."""
    torch.manual_seed(0)
    logits_TE = torch.randn(12, EXPERTS, requires_grad=True)
    plan = make()(logits_TE, testing.context(12))
    weighed = (plan.weights_TE * torch.randn(12, EXPERTS)).sum()
    total = weighed if plan.log_prob_T is None else weighed + plan.log_prob_T.sum()
    assert total.requires_grad, "nothing carries a gradient"
    total.backward()
    assert logits_TE.grad is not None, "the logits take no gradient"
    assert bool(logits_TE.grad.abs().sum() > 1e-6), "the gradient is 0"
    assert bool(torch.isfinite(logits_TE.grad).all()), "the gradient is not finite"


def a_token_is_routed_by_itself(make: Make) -> None:
    """In evaluation, once trained a step, a token's experts do not depend on the other tokens."""
    made = make()
    made(torch.randn(64, EXPERTS), testing.context(64))
    made.after_step()
    made.eval()
    logits_TE = torch.randn(12, EXPERTS)
    whole = made(logits_TE, testing.context(12)).chosen_TE
    tasks_T = testing.context(12).task_T
    assert tasks_T is not None, "the battery's context knows tasks"
    alone = [testing.context(1, task_T=tasks_T[t : t + 1]) for t in range(12)]
    parts = [made(logits_TE[t : t + 1], alone[t]).chosen_TE for t in range(12)]
    assert torch.equal(torch.cat(parts), whole), "other tokens change a token's experts"


def a_bias_chooses_or_is_refused(make: Make) -> None:
    """A bias on one expert gives it more tokens and leaves weights of equal choices alone, or raises RoutingError."""
    logits_TE, bias_E = torch.randn(64, EXPERTS), torch.zeros(EXPERTS)
    known = testing.context(64)
    torch.manual_seed(0)
    plain = make()(logits_TE, known)
    message = refusal(lambda: make()(logits_TE, known, bias_E))
    if message is not None:
        assert "bias" in message, f"the message {message!r} lacks bias"
        return
    torch.manual_seed(0)
    same = make()(logits_TE, known, bias_E)
    assert torch.equal(plain.chosen_TE, same.chosen_TE), "a bias of 0 changes the plan"
    bias_E[0] = 0.3
    torch.manual_seed(0)
    biased = make()(logits_TE, known, bias_E)
    assert biased.counts_E[0] > plain.counts_E[0], "a bias does not bring tokens"
    assert torch.allclose(biased.scores_TE, plain.scores_TE), "a bias changes the scores"
    refused(lambda: make()(logits_TE, known, torch.zeros(EXPERTS + 1)), f"({EXPERTS},)")


def a_ragged_mask_and_nan_are_refused(make: Make) -> None:
    """So are logits that are not [T, E]."""
    made = make()
    logits_TE = torch.randn(4, EXPERTS)
    refused(lambda: made(logits_TE, testing.context(4, mask_T=torch.ones(5, dtype=torch.bool))), "(5,)")
    refused(lambda: made(logits_TE, testing.context(4, mask_T=torch.ones(4))), "torch.float32")
    refused(lambda: made(logits_TE[0], testing.context(4)), f"({EXPERTS},)")
    logits_TE[3, 0] = float("nan")
    refused(lambda: made(logits_TE, testing.context(4)), "NaN in row 3 of 4")


def more_experts_than_there_are_is_refused(make: Make) -> None:
    """A k above E, where there is a k, raises RoutingError with both."""
    if not hasattr(make(), "k"):
        return
    refused(lambda: make(k=EXPERTS + 1)(torch.randn(4, EXPERTS), testing.context(4)), f"E={EXPERTS}")


def recomputation_counts_once(make: Make) -> None:
    """Activation checkpointing leaves buffers and counts as a plain pass does, in both modes."""
    counted_once(make, lambda made, x_TD: made(x_TD[:, :EXPERTS], testing.context(12)).weights_TK)
