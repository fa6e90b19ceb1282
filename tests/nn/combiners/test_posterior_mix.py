from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from turnout.errors import RoutingError
from turnout.nn import LinearGate, Modules, PosteriorMix, RoutedLayer, Soft


class Flow(nn.Module):
    """The exact marginal velocity of a unit Gaussian noise at time .5 towards one Gaussian of a mixture."""

    def __init__(self, mean_D: Tensor) -> None:
        super().__init__()
        self.mean_D = mean_D

    def forward(self, x_ND: Tensor) -> Tensor:
        return self.mean_D - x_ND


def test_the_mix_by_posterior_is_the_flow_of_the_mixture() -> None:
    """With p(k) and N(x; m_k, 1) the score of the mixture is Σ_k p(k|x) (m_k − x): experts alone never saw it."""
    torch.manual_seed(0)
    means_ED, prior_E = torch.randn(3, 2), torch.tensor([0.2, 0.5, 0.3])
    layer = RoutedLayer(
        LinearGate(2, 3, bias=True),
        Soft(),
        Modules([Flow(m) for m in means_ED]),
        combiner=PosteriorMix(prior_E.tolist()),
    )
    with torch.no_grad():  # log N(x; m, 1) up to what is the same for all k
        layer.gate.linear.weight.copy_(means_ED)
        layer.gate.linear.bias.copy_(-means_ED.square().sum(-1) / 2)
    x_TD = torch.randn(50, 2, requires_grad=True)
    density_T = (prior_E * (-(x_TD[:, None] - means_ED).square().sum(-1) / 2).exp()).sum(-1)
    (score_TD,) = torch.autograd.grad(density_T.log().sum(), x_TD)
    assert float((layer(x_TD).output - score_TD).abs().max().detach()) < 1e-5


def test_the_gate_takes_no_gradient() -> None:
    layer = RoutedLayer(LinearGate(4, 2), Soft(), Modules([nn.Linear(4, 4), nn.Linear(4, 4)]), combiner=PosteriorMix())
    layer(torch.randn(5, 4)).output.sum().backward()
    assert layer.gate.linear.weight.grad is None


def test_a_prior_must_be_positive() -> None:
    with pytest.raises(RoutingError, match=r"positive for every expert, got \[0.5, 0.0\]"):
        PosteriorMix([0.5, 0.0])
