from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from turnout.nn import RoutingContext, Sinkhorn
from turnout.nn.selectors.sinkhorn import transport


@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 8))
def test_the_plan_of_transport_has_its_marginals(seed: int, tokens: int, experts: int) -> None:
    cost_TE = torch.randn(tokens, experts, generator=torch.Generator().manual_seed(seed))
    plan_TE = transport(cost_TE, 100)
    assert torch.allclose(plan_TE.sum(-1), torch.ones(tokens), atol=1e-4)
    assert torch.allclose(plan_TE.sum(0), torch.full((experts,), tokens / experts), rtol=1e-3, atol=1e-3)


def test_silenced_experts_carry_nothing() -> None:
    cost_TE = torch.randn(12, 4)
    cost_TE[:, 1] = float("-inf")
    cost_TE[0, 2] = float("-inf")
    plan_TE = transport(cost_TE, 100)
    assert plan_TE[:, 1].abs().max() == 0
    assert plan_TE[0, 2] == 0
    assert torch.allclose(plan_TE.sum(0)[[0, 2, 3]], torch.full((3,), 4.0), atol=1e-2)


def test_gradients_pass_through_the_transport() -> None:
    logits_TE = torch.randn(16, 4, requires_grad=True)
    Sinkhorn(2, share=1.0, normalize=False)(logits_TE).weights_TK.square().sum().backward()
    assert logits_TE.grad is not None
    assert logits_TE.grad.abs().max() > 1e-4
    assert bool(torch.isfinite(logits_TE.grad).all())


def test_the_share_of_steps_is_what_was_asked() -> None:
    torch.manual_seed(0)
    logits_TE = torch.randn(8, 4)
    select = Sinkhorn(1, share=0.25)
    soft_TE = logits_TE.softmax(-1)
    moved = sum(not torch.equal(select(logits_TE).scores_TE, soft_TE) for _ in range(400))
    assert 70 < moved < 130


def test_padding_carries_no_mass() -> None:
    logits_TE, mask_T = torch.randn(12, 3), torch.arange(12) < 8
    logits_TE[8:] = 30.0
    select = Sinkhorn(1, share=1.0)
    whole = select(logits_TE, RoutingContext(mask_T=mask_T))
    assert torch.allclose(whole.scores_TE[:8], select(logits_TE[:8]).scores_TE)
