"""Checks on dispatchers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from turnout.nn import testing
from turnout.nn._contract._refusal import refused
from turnout.nn.dispatch.dense import Dense
from turnout.nn.experts.ffn import FFN
from turnout.nn.plan import Plan
from turnout.nn.selectors.soft import Soft
from turnout.nn.selectors.threshold import Threshold
from turnout.nn.selectors.top_k import TopK

__all__ = [
    "it_equals_the_dense_reference",
    "wrong_plans_are_refused",
]

Make = Callable[..., Any]
WIDTH, EXPERTS = testing.WIDTH, testing.EXPERTS
SELECTORS = (TopK(1), TopK(2), Soft(), Threshold(0.6, score="sigmoid", min_k=0), Threshold(2.0, min_k=0))


def it_equals_the_dense_reference(make: Make) -> None:
    """In outputs and in all gradients, for one, several, all and no experts a token, odd widths, ragged plans.

    A dispatcher that drops is compared on what it keeps.
    """
    for width in (WIDTH, WIDTH - 1):
        for number, select in enumerate(SELECTORS):
            torch.manual_seed(number)
            pool, x_TD = FFN(EXPERTS, width, 6), torch.randn(12, width, requires_grad=True)
            mask_T = torch.arange(12) != 5
            made = make()
            plan = made.admit(select(torch.randn(12, EXPERTS), testing.context(12, mask_T=mask_T)))
            kept = replace(plan, idx_TK=torch.where(plan.held_TK, plan.idx_TK, EXPERTS), kept_TK=None, full=False)
            found, expected = _run(made, x_TD, plan, pool), _run(Dense(), x_TD, kept, pool)
            for name, value in expected.items():
                same = torch.allclose(found[name], value, atol=1e-5, rtol=1e-4)
                assert same, f"{name} differs from the dense reference for selector {number} at width {width}"


def wrong_plans_are_refused(make: Make) -> None:
    """A plan for other tokens or experts raises RoutingError with both numbers."""
    made, x_TD = make(), torch.randn(3, WIDTH)
    plan = TopK(1)(torch.randn(3, EXPERTS))
    refused(lambda: made(x_TD[:2], plan, FFN(EXPERTS, WIDTH, 6)), "3 tokens, got 2")
    refused(lambda: made(x_TD, plan, FFN(EXPERTS + 1, WIDTH, 6)), f"{EXPERTS} experts, got {EXPERTS + 1}")


def _run(dispatcher: Any, x_TD: Tensor, plan: Plan, pool: FFN) -> dict[str, Tensor]:
    pool.zero_grad()
    x_TD.grad = None
    y_TD = dispatcher(x_TD, plan, pool).weighted_sum(torch.where(plan.held_TK, 0.5, 0.0))
    y_TD.square().sum().backward()
    grads = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in pool.named_parameters()}
    return {"output": y_TD.detach(), "x": torch.zeros(1) if x_TD.grad is None else x_TD.grad.clone(), **grads}
