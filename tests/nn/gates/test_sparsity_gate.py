from __future__ import annotations

import copy

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import FFN, RoutedLayer, SparsityGate, TopK
from turnout.nn.base import Experts


def measured(pool: FFN, x_TD: torch.Tensor) -> torch.Tensor:
    """Share of hidden units that fire, [T, E]."""
    return (torch.einsum("td,ehd->teh", x_TD, pool.up_proj) > 0).float().mean(-1)


def test_the_score_predicts_how_many_hidden_units_fire() -> None:
    torch.manual_seed(0)
    pool, x_TD = FFN(8, 32, 64, activation="relu", gated=False), torch.randn(200, 32)
    pool.up_proj.data += 0.05 * torch.randn(8, 1, 32)  # experts with a direction of their own
    score_TE = SparsityGate(pool)(x_TD)[0]
    together = torch.stack([score_TE.reshape(-1), measured(pool, x_TD).reshape(-1)])
    assert torch.corrcoef(together)[0, 1] < -0.8


def test_it_follows_the_weights_also_where_it_keeps_moments() -> None:
    pool, x_TD = FFN(3, 8, 16, gated=False), torch.randn(4, 8)
    gate = SparsityGate(pool)
    with torch.no_grad():
        before = gate(x_TD)[0]
        assert torch.equal(gate(x_TD)[0], before)
        pool.up_proj.mul_(-1)
        assert torch.allclose(gate(x_TD)[0], -before, atol=1e-6)


def test_the_pool_is_owned_once_and_a_copy_reads_its_own() -> None:
    pool = FFN(3, 8, 16)
    layer = RoutedLayer(SparsityGate(pool), TopK(1), pool)
    assert sorted(layer.state_dict()) == ["experts.down_proj", "experts.gate_up_proj"]
    twin = copy.deepcopy(layer)
    assert twin.gate._pool[0] is twin.experts
    assert twin.experts is not pool


def test_a_pool_without_a_first_projection_is_named() -> None:
    class Nothing(Experts):
        experts = 2

        def forward(self, x_ND: torch.Tensor, segments: object) -> torch.Tensor:
            return x_ND

    with pytest.raises(RoutingError, match="Nothing has neither"):
        SparsityGate(Nothing())


def test_weights_made_in_inference_mode_serve_too() -> None:
    with torch.inference_mode():
        gate = SparsityGate(FFN(4, 8, 16, activation="relu", gated=False))
        assert gate(torch.randn(3, 8))[0].shape == (3, 4)
