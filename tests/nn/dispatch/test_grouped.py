from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import FFN, Grouped, LinearGate, RoutedLayer, TopK


@pytest.mark.parametrize(
    ("width", "dtype", "said"),
    [
        (6, torch.float32, "a multiple of 4 in torch.float32, got 6"),
        (12, torch.bfloat16, "a multiple of 8 in torch.bfloat16, got 12"),
        (8, torch.float64, "takes float32, bfloat16 and float16, got torch.float64"),
    ],
)
def test_strict_says_why_grouped_mm_refuses(width: int, dtype: torch.dtype, said: str) -> None:
    layer = RoutedLayer(LinearGate(width, 2), TopK(1), FFN(2, width, 8), dispatcher=Grouped(strict=True)).to(dtype)
    with pytest.raises(RoutingError, match=said):
        layer(torch.randn(5, width, dtype=dtype))


def test_an_expanded_gradient_is_taken() -> None:
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=Grouped(strict=True))
    layer(torch.randn(40, 8)).output.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
