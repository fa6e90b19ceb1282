"""What is measured on pools of the cipher bed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from turnout.nn import LoRA, RoutedLayer, Soft
from turnout.nn.beds.mixtures import forgetting, loras, support


def test_support_is_one_over_the_sum_of_squares() -> None:
    weights_TE = torch.tensor([[0.5, 0.5, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert support(weights_TE) == pytest.approx(1.5)


def test_forgetting_is_what_earlier_tasks_lost_since_they_were_learned() -> None:
    loss_PP = torch.tensor([[1.0, 9.0, 9.0], [2.0, 3.0, 9.0], [4.0, 3.5, 2.0]])
    found = forgetting(loss_PP)
    assert found["forgetting"] == pytest.approx((3.0 + 0.5) / 2)
    assert found["loss"] == pytest.approx(9.5 / 3)
    assert found["loss just after"] == pytest.approx(2.0)


def test_lora_pools_have_one_scale_whatever_the_rank() -> None:
    for rank in (2, 8):
        layer = loras(4, rank, k=None)(nn.Linear(8, 6), "up")
        assert isinstance(layer, RoutedLayer)
        assert isinstance(layer.experts, LoRA)
        assert isinstance(layer.selector, Soft)
        assert layer.experts.scaling == 4.0
        assert len(layer.balancers) == 1
    assert not loras(1, 4, k=1)(nn.Linear(8, 6), "up").balancers
