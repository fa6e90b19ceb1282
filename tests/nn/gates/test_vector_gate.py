"""One vector per expert."""

from __future__ import annotations

import pytest
import torch

from turnout.errors import ParameterError
from turnout.nn import VectorGate


def test_standard_ignores_scale_and_offset() -> None:
    torch.manual_seed(0)
    gate = VectorGate(8, 3)
    torch.nn.init.normal_(gate.vectors)
    x = torch.randn(5, 8)
    torch.testing.assert_close(gate(3 * x + 2)[0], gate(x)[0], rtol=1e-3, atol=1e-4)
    expected = torch.nn.functional.layer_norm(x, (8,)) @ torch.nn.functional.layer_norm(gate.vectors, (8,)).T / 8**0.5
    torch.testing.assert_close(gate(x)[0], expected)


def test_absolute_ignores_the_sign() -> None:
    torch.manual_seed(0)
    gate = VectorGate(8, 3, score="absolute", temperature=0.5)
    torch.nn.init.normal_(gate.vectors)
    x = torch.randn(5, 8)
    torch.testing.assert_close(gate(-x)[0], gate(x)[0])
    assert (gate(x)[0] >= 0).all()


def test_a_gate_without_vectors_scores_all_alike() -> None:
    for score in ("standard", "absolute", "cosine"):
        assert not VectorGate(4, 3, score=score)(torch.randn(2, 4))[0].any()


def test_opening_is_each_tokens_own() -> None:
    gate = VectorGate(2, 2)
    gate.vectors.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    found = gate.opening(torch.tensor([[2.0, 5.0], [2.0, 5.0]]), torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([2.0, -5.0]).sigmoid())


def test_an_unknown_score_is_refused() -> None:
    with pytest.raises(ParameterError, match="score"):
        VectorGate(4, 2, score="l2")
