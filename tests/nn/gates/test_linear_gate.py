from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import LinearGate, RoutingContext


def test_logits_stay_float32_in_a_half_precision_model() -> None:
    gate = LinearGate(8, 4).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_TE, _ = gate(torch.randn(3, 8, dtype=torch.bfloat16))
    assert logits_TE.dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(2, 3, 8), r"routes rows \[T, D\], got shape \(2, 3, 8\)"),
        (torch.randn(2, 7), "routes rows of width 8, got 7"),
        (torch.zeros(2, 8, dtype=torch.int64), "floating-point numbers, got torch.int64"),
        (torch.randn(2, 8, device="meta"), "is on cpu, its rows are on meta"),
    ],
)
def test_what_it_cannot_route_is_named(x: torch.Tensor, message: str) -> None:
    with pytest.raises(RoutingError, match=message):
        LinearGate(8, 4)(x)


@pytest.mark.parametrize("mask", [torch.ones(3, dtype=torch.bool), torch.ones(2), torch.ones(2, 1, dtype=torch.bool)])
def test_a_ragged_mask_is_named(mask: torch.Tensor) -> None:
    with pytest.raises(RoutingError, match=r"a mask must be bool of shape \(2,\), got"):
        LinearGate(8, 4)(torch.randn(2, 8), RoutingContext(mask_T=mask))
