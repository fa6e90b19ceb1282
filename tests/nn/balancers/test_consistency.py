from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import FFN, Consistency, LinearGate, RandomChoice, RoutedLayer


def test_it_is_the_symmetric_divergence() -> None:
    a, b = torch.randn(3, 5), torch.randn(3, 5)
    p, q = a.softmax(-1), b.softmax(-1)
    expected = ((p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)).mean().item() / 2
    assert Consistency(2.0).between(a, b).item() == pytest.approx(2 * expected, rel=1e-4)
    assert Consistency(2.0).between(b, a).item() == pytest.approx(2 * expected, rel=1e-4)


def test_masked_rows_do_not_count() -> None:
    a, b = torch.randn(3, 5), torch.randn(3, 5)
    mask_T = torch.tensor([True, False, True])
    loss = Consistency()
    assert loss.between(a, b, mask_T).item() == pytest.approx(loss.between(a[mask_T], b[mask_T]).item())


def test_it_brings_random_experts_together() -> None:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 2), RandomChoice(1, unit="batch"), FFN(2, 8, 16))
    x, loss = torch.randn(32, 8), Consistency(5.0)
    optimizer = torch.optim.Adam(layer.experts.parameters(), 0.01)

    def apart() -> torch.Tensor:
        return loss.between(layer(x).output, layer(x).output)

    start = max(apart().item() for _ in range(8))
    for _ in range(150):
        optimizer.zero_grad()
        found = apart()
        found.backward()
        optimizer.step()
    assert max(apart().item() for _ in range(8)) < 0.1 * start


def test_other_shapes_are_named() -> None:
    with pytest.raises(RoutingError, match=r"of one shape, got \(2, 3\) and \(3, 3\)"):
        Consistency().between(torch.zeros(2, 3), torch.zeros(3, 3))
