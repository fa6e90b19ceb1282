"""Adapters picked from a shared store."""

from __future__ import annotations

import pytest
import torch

from turnout.errors import ParameterError
from turnout.nn import Fused, LinearGate, RoutedLayer, Shards, TopK, WeightedSum


def made(**params: int) -> Shards:
    torch.manual_seed(0)
    store = Shards.store(6, 4)
    torch.nn.init.normal_(store["B"])
    return Shards(8, 12, store=store, rank=4, **params)


def test_a_row_is_made_of_picks() -> None:
    pool = made()
    a_RD, b_OR = pool.matrices()
    shards = {tuple(row) for row in pool.shared["A"].tolist()}
    assert {tuple(piece) for row in a_RD.view(4, 2, 4).tolist() for piece in row} <= shards
    assert {tuple(piece) for row in b_OR.T.reshape(4, 3, 4).tolist() for piece in row} <= {
        tuple(row) for row in pool.shared["B"].tolist()
    }


def test_every_way_of_running_it_is_its_delta() -> None:
    pool, x = made(), torch.randn(5, 8)
    for combiner in (Fused(), WeightedSum()):
        routed = RoutedLayer(LinearGate(8, 1), TopK(1), pool, combiner=combiner)(x)
        torch.testing.assert_close(routed.output, x @ pool.delta(0).T)


def test_layers_share_the_store_and_keep_private_shards() -> None:
    store = Shards.store(6, 4)
    first, second = (Shards(8, 8, store=store, rank=2, private=1, seed=seed) for seed in range(2))
    assert len({*first.parameters()} & {*second.parameters()}) == 2
    for layer in (first, second):
        assert int((layer.pick_A == 6).sum()) == 1
        assert int((layer.pick_B == 6).sum()) == 1


def test_a_new_adapter_changes_nothing_but_learns() -> None:
    pool = Shards(8, 8, store=Shards.store(6, 4), rank=2)
    assert not pool.delta(0).any()
    pool.delta(0).sum().backward()
    assert pool.shared["B"].grad is not None
    assert bool(pool.shared["B"].grad.any())


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ParameterError, match="do not divide"):
        Shards(6, 8, store=Shards.store(4, 4))
    with pytest.raises(ParameterError, match="private"):
        Shards(4, 4, store=Shards.store(4, 4), rank=1, private=3)
