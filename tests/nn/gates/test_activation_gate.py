"""Rank-one experts that choose themselves."""

from __future__ import annotations

import copy

import torch

from turnout.nn import ActivationGate, RankOne, RoutedLayer, TopK


def made() -> RoutedLayer:
    torch.manual_seed(0)
    pool = RankOne(4, 8, activation="identity", zero=True)
    return RoutedLayer(ActivationGate(pool, temperature=0.5), TopK(2), pool)


def test_the_expert_along_x_scores_highest_whatever_the_sign() -> None:
    layer = made()
    x = layer.experts.in_ED[[2, 3]] * torch.tensor([[5.0], [-0.1]])
    logits = layer.gate(x)[0]
    assert logits.argmax(-1).tolist() == [2, 3]
    torch.testing.assert_close(logits.amax(-1), torch.full((2,), 2.0))


def test_it_owns_nothing_and_follows_the_pool() -> None:
    layer = made()
    assert not list(layer.gate.parameters())
    layer.experts.grow(3)
    assert layer.gate.experts == 7
    assert layer(torch.randn(3, 8)).plan.experts == 7
    layer.experts.prune([0, 6])
    assert layer(torch.randn(3, 8)).plan.experts == 2


def test_a_copy_follows_its_own_pool() -> None:
    layer = made()
    other = copy.deepcopy(layer)
    other.experts.grow(1)
    assert (layer.gate.experts, other.gate.experts) == (4, 5)
