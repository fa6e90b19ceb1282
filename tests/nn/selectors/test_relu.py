from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import ReLU


def test_weights_are_rms_normed_and_scaled() -> None:
    select = ReLU(4)
    select.scale_E.data = torch.tensor([1.0, 1.0, 2.0, 1.0])
    plan = select(torch.tensor([[3.0, -1.0, 4.0, 0.0]]))
    rms = (25 / 4) ** 0.5
    assert plan.idx_TK.tolist() == [[0, 2]]
    assert plan.weights_TK[0].tolist() == pytest.approx([3 / rms, 8 / rms])


def test_without_norm_weights_are_the_logits() -> None:
    assert ReLU(3, norm=False)(torch.tensor([[1.5, -2.0, 0.5]])).weights_TK.tolist() == [[1.5, 0.5]]


def test_a_token_may_get_no_expert() -> None:
    plan = ReLU(3)(torch.tensor([[-1.0, -1.0, -1.0]]))
    assert plan.counts_E.sum().item() == 0
    assert plan.idx_TK.tolist() == [[3]]


def test_the_norm_makes_the_scale_of_the_gate_irrelevant() -> None:
    logits_TE = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ReLU(6)(logits_TE).weights_TE, ReLU(6)(10 * logits_TE).weights_TE, atol=1e-3)


def test_a_bias_and_another_number_of_experts_are_refused() -> None:
    with pytest.raises(RoutingError, match="takes no bias on the choice"):
        ReLU(3)(torch.zeros(1, 3), None, torch.zeros(3))
    with pytest.raises(RoutingError, match="for 3 experts, got logits of 4"):
        ReLU(3)(torch.zeros(1, 4))
