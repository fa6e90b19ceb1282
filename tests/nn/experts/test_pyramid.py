"""Adapters at several scales."""

from __future__ import annotations

import pytest
import torch

from turnout.errors import ParameterError
from turnout.nn import Fused, LinearGate, Pyramid, RoutedLayer, Soft, TopK, WeightedSum


def made() -> Pyramid:
    torch.manual_seed(0)
    pool = Pyramid(8, 12, scales=(1, 2, 4), rank=3)
    for b in pool.lora_B:
        torch.nn.init.normal_(b)
    return pool


def test_coarse_outputs_repeat() -> None:
    rows = made().delta(2)
    for first in range(0, 12, 4):
        assert torch.equal(rows[first], rows[first + 3])
    assert not torch.equal(rows[0], rows[4])


@pytest.mark.parametrize("selector", [TopK(2), Soft()])
def test_every_way_of_running_it_is_the_same(selector: torch.nn.Module) -> None:
    pool, gate, x = made(), LinearGate(8, 3), torch.randn(5, 8)
    fused, dispatched = (
        RoutedLayer(gate, selector, pool, combiner=combiner)(x) for combiner in (Fused(), WeightedSum())
    )
    torch.testing.assert_close(fused.output, dispatched.output)
    weights_TE = fused.plan.weights_TE
    torch.testing.assert_close(fused.output, sum(weights_TE[:, e, None] * (x @ pool.delta(e).T) for e in range(3)))


def test_a_scale_must_divide_the_width() -> None:
    with pytest.raises(ParameterError, match="scale"):
        Pyramid(8, 12, scales=(1, 5))
