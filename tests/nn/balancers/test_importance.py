from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from turnout.nn import Importance, Soft, TopK
from turnout.nn.base import Routing

Make = Callable[..., Routing]


def test_the_squared_coefficient_of_variation(routing: Make) -> None:
    logits_TE = torch.randn(20, 4)
    total = logits_TE.softmax(-1).sum(0)
    expected = (total.var(unbiased=False) / total.mean() ** 2).item()
    assert Importance(1.0)(routing(logits_TE, select=Soft())).item() == pytest.approx(expected, rel=1e-4)
    assert Importance(1.0, of="scores")(routing(logits_TE)).item() == pytest.approx(expected, rel=1e-4)


def test_zero_when_even_and_e_minus_one_when_one_has_all(routing: Make) -> None:
    assert Importance(1.0)(routing(60 * torch.eye(4), select=TopK(1))).item() == pytest.approx(0, abs=1e-6)
    one = routing(torch.tensor([[60.0, 0, 0, 0]]), select=TopK(1))
    assert Importance(1.0)(one).item() == pytest.approx(3, abs=1e-4)
