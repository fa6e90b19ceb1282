from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from turnout.nn import TopP


@given(st.integers(0, 2**31), st.floats(0.05, 0.99), st.integers(1, 9))
def test_the_prefix_passes_p_and_would_not_without_its_last(seed: int, p: float, experts: int) -> None:
    logits_TE = 3 * torch.randn(20, experts, generator=torch.Generator().manual_seed(seed))
    plan = TopP(p)(logits_TE)
    plan.check()
    mass_T = plan.weights_TK.sum(-1)
    last_T = torch.where(plan.mask_TK, plan.weights_TK, 1.0).min(-1).values
    assert bool((mass_T >= p - 1e-5).all())
    assert bool((mass_T - last_T < p + 1e-5).all())


def test_weights_are_raw_probabilities() -> None:
    logits_TE = torch.tensor([[0.5, 0.3, 0.2]]).log()
    plan = TopP(0.6)(logits_TE)
    assert torch.allclose(plan.weights_TK, torch.tensor([[0.5, 0.3]]))
    assert torch.allclose(TopP(0.6, normalize=True)(logits_TE).weights_TK, torch.tensor([[0.625, 0.375]]))


def test_bounds_on_the_number() -> None:
    logits_TE = torch.tensor([[9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    counts = TopP(0.9, min_k=2, max_k=3)(logits_TE).mask_TK.sum(-1)
    assert counts.tolist() == [2, 3]


def test_all_the_mass_takes_every_expert_that_is_not_silenced() -> None:
    plan = TopP(1.0)(torch.tensor([[0.0, float("-inf"), 1.0]]))
    assert plan.idx_TK.tolist() == [[0, 2]]


def test_a_bias_changes_the_order_and_not_the_mass() -> None:
    plan = TopP(0.3)(torch.tensor([[0.5, 0.3, 0.2]]).log(), None, torch.tensor([0.0, 0.0, 1.0]))
    assert plan.idx_TK.tolist() == [[0, 2]]  # 0.2 first, which is not enough, then 0.5
