from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from turnout.nn import ConfidenceGate


class Fixed(nn.Module):
    def __init__(self, scores_TC: torch.Tensor) -> None:
        super().__init__()
        self.scores_TC = scores_TC

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores_TC


@pytest.mark.parametrize("dispersion", ["variance", "entropy"])
def test_dispersion_runs_from_a_uniform_answer_to_a_certain_one(dispersion: str) -> None:
    weak = Fixed(torch.tensor([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]]))
    sure_T = ConfidenceGate(weak, dispersion=dispersion, learned=False).confidence(torch.zeros(2, 4))
    assert sure_T.tolist() == pytest.approx([0, 1], abs=1e-5)


@given(st.integers(0, 2**31), st.sampled_from(["variance", "entropy"]))
def test_confidence_never_falls_as_dispersion_rises_whatever_the_gate_learned(seed: int, dispersion: str) -> None:
    torch.manual_seed(seed)
    sharp_T1 = torch.linspace(0, 8, 50)[:, None]
    gate = ConfidenceGate(Fixed(sharp_T1 * torch.tensor([[1.0, 0.0, -1.0]])), dispersion=dispersion)
    for parameter in gate.parameters():
        parameter.data = 3 * torch.randn_like(parameter)
    assert bool((gate.confidence(torch.zeros(50, 4)).diff() >= -1e-6).all())


def test_softmax_gives_back_the_confidence() -> None:
    gate = ConfidenceGate(nn.Linear(4, 3), experts=3)
    x_TD = torch.randn(5, 4)
    p_TE = gate(x_TD)[0].softmax(-1)
    assert torch.allclose(p_TE[:, 0], gate.confidence(x_TD), atol=1e-5)
    assert torch.allclose(p_TE[:, 1], p_TE[:, 2])


def test_the_weak_expert_is_neither_owned_nor_trained_through_the_gate() -> None:
    weak = nn.Linear(4, 3)
    gate = ConfidenceGate(weak)
    gate(torch.randn(5, 4))[0][:, 0].sum().backward()
    assert weak.weight.grad is None
    assert {name.split(".")[0] for name in gate.state_dict()} == {"rising"}
    assert all(p.grad is not None for p in gate.parameters())
