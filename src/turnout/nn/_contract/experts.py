"""Checks on pools of experts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from turnout.nn import testing
from turnout.nn._contract._refusal import refusal
from turnout.nn.dispatch.dense import Dense
from turnout.nn.dispatch.segment import Segment
from turnout.nn.plan import Plan
from turnout.nn.selectors.top_k import TopK

__all__ = [
    "a_row_is_served_by_its_own_expert",
    "a_token_is_served_by_itself",
    "it_trains",
    "merging_works_or_is_refused",
    "wrong_plans_are_refused",
]

Make = Callable[..., Any]
WIDTH = testing.WIDTH


def a_row_is_served_by_its_own_expert(make: Make) -> None:
    """Rows sorted by expert give what each expert alone gives of them."""
    torch.manual_seed(0)
    made, x_TD = make(), torch.randn(12, WIDTH)
    plan = TopK(min(2, made.experts))(torch.randn(12, made.experts))
    found_TKM = Segment()(x_TD, plan, made).by_token()
    for expert in range(made.experts):
        alone_T1M = Dense()(x_TD, _only(expert, 12, made.experts), made).by_token()
        own_TK = plan.idx_TK == expert
        expected = alone_T1M.expand(-1, plan.k, -1)[own_TK]
        assert torch.allclose(found_TKM[own_TK], expected, atol=1e-5), f"expert {expert} differs when it runs alone"


def a_token_is_served_by_itself(make: Make) -> None:
    """A token's outputs do not depend on the other rows."""
    torch.manual_seed(0)
    made, x_TD = make().eval(), torch.randn(6, WIDTH)
    plan = TopK(1)(torch.randn(6, made.experts))
    whole = Segment()(x_TD, plan, made).by_token()
    alone = [Segment()(x_TD[t : t + 1], _only(int(plan.idx_TK[t]), 1, made.experts), made).by_token() for t in range(6)]
    assert torch.allclose(torch.cat(alone), whole, atol=1e-5), "other rows change a token's output"


def it_trains(make: Make) -> None:
    """A loss on the outputs of all experts gives finite gradients, some not 0; a pool without parameters passes."""
    torch.manual_seed(0)
    made, x_TD = make(), torch.randn(12, WIDTH)
    if not list(made.parameters()):
        return
    plan = TopK(made.experts)(torch.randn(12, made.experts))
    Segment()(x_TD, plan, made).by_token().square().sum().backward()
    grads = [p.grad for p in made.parameters() if p.grad is not None]
    moved = Segment()(x_TD, plan, made).by_token()
    if bool(moved.any()):
        assert any(bool(grad.any()) for grad in grads), "no parameter takes a gradient"
    assert all(bool(torch.isfinite(grad).all()) for grad in grads), "a gradient is not finite"


def merging_works_or_is_refused(make: Make) -> None:
    """One expert's weights alone merge into that expert; a kind that cannot be merged raises RoutingError."""
    torch.manual_seed(0)
    made, x_TD = make(), torch.randn(5, WIDTH)
    message = refusal(lambda: made.merged(torch.eye(made.experts)[-1:]))
    if message is not None:
        assert "cannot be merged" in message, f"the message {message!r} does not say what it cannot"
        return
    pool = made.merged(torch.eye(made.experts)[-1:])
    merged = Dense()(x_TD, _only(0, 5, 1), pool).by_token()
    expected = Dense()(x_TD, _only(made.experts - 1, 5, made.experts), made).by_token()
    assert torch.allclose(merged, expected, atol=1e-5), "one expert's weights alone do not merge into that expert"


def wrong_plans_are_refused(make: Make) -> None:
    """A plan for another number of experts or tokens raises RoutingError."""
    made = make()
    for tokens, experts in ((3, made.experts + 1), (4, made.experts)):
        message = refusal(partial(Dense(), torch.randn(3, WIDTH), _only(0, tokens, experts), made))
        assert message is not None, f"a plan for {tokens} tokens and {experts} experts is accepted"


def _only(expert: int, tokens: int, experts: int) -> Plan:
    idx_T1 = torch.full((tokens, 1), expert)
    return Plan(idx_T1, torch.ones(tokens, 1), torch.ones(tokens, experts), torch.ones(tokens, experts), full=True)
