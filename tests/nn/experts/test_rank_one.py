from __future__ import annotations

import torch

from turnout.nn import Dense, LinearGate, Plan, RankOne, RoutedLayer, Soft, TopK


def test_all_neurons_are_one_ffn() -> None:
    torch.manual_seed(0)
    pool, x_TD = RankOne(6, 4, activation="relu"), torch.randn(5, 4)
    ones_TE = torch.ones(5, 6)
    plan = Plan.of_mask(ones_TE.bool(), ones_TE, ones_TE)
    wanted_TD = (x_TD @ pool.in_ED.t()).relu() @ pool.out_EO
    torch.testing.assert_close(Dense()(x_TD, plan, pool).weighted_sum(ones_TE), wanted_TD)
    torch.testing.assert_close(pool.mixed(x_TD, ones_TE), wanted_TD)


def test_grown_experts_change_nothing_and_pruned_ones_are_gone() -> None:
    torch.manual_seed(0)
    pool, x_TD = RankOne(3, 4, activation="identity"), torch.randn(5, 4)
    before_TD = pool.mixed(x_TD, torch.ones(5, 3))
    pool.grow(2)
    assert pool.experts == 5
    torch.testing.assert_close(pool.mixed(x_TD, torch.ones(5, 5)), before_TD)
    last_D = pool.out_EO[2].clone()
    pool.prune([2, 0])
    assert pool.experts == 2
    assert torch.equal(pool.out_EO[0], last_D)
    assert RoutedLayer(LinearGate(4, 2), Soft(), pool)(x_TD).output.shape == (5, 4)


def test_zero_starts_as_no_change() -> None:
    assert not RoutedLayer(LinearGate(4, 3), TopK(2), RankOne(3, 4, zero=True))(torch.randn(5, 4)).output.any()
