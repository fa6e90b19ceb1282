"""What all combiners share: empty slots and dropped ones add nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import nn

from turnout import registry
from turnout.nn import (
    Auto,
    Capacity,
    Constant,
    CrossAttention,
    Fused,
    LinearGate,
    LogitAdd,
    LoRA,
    Plan,
    PosteriorMix,
    RoutedLayer,
    RoutingContext,
    TopK,
    WeightedSum,
    WeightSpace,
)
from turnout.nn.base import Combiner

COMBINERS: Mapping[str, Callable[[], Combiner]] = {
    "constant": Constant,
    "cross_attention": lambda: CrossAttention(8, 8, heads=2),
    "fused": Fused,
    "logit_add": lambda: LogitAdd(nn.Linear(8, 8)),
    "posterior_mix": PosteriorMix,
    "weight_space": WeightSpace,
    "weighted_sum": WeightedSum,
}


def pool() -> LoRA:
    made = LoRA(4, 8, 8, rank=2)
    nn.init.normal_(made.lora_B)
    return made


def test_the_combiners_here_are_registered() -> None:
    assert set(COMBINERS) <= set(registry.names("combiner"))


@pytest.mark.parametrize("name", COMBINERS)
def test_padding_changes_nothing_and_gets_nothing(name: str) -> None:
    torch.manual_seed(0)
    combiner = COMBINERS[name]()
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), pool(), combiner=combiner)
    x_TD = torch.randn(5, 8)
    masked = layer(x_TD, RoutingContext(mask_T=torch.tensor([True, True, False, True, False])))
    alone = layer(x_TD[[0, 1, 3]])
    torch.testing.assert_close(masked.output[[0, 1, 3]], alone.output)
    if name != "logit_add":  # the complement speaks for every token
        assert not masked.output[[2, 4]].any()
    masked.output.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", sorted(set(COMBINERS) - {"fused", "weight_space"}))
def test_dropped_slots_are_as_empty_ones(name: str) -> None:
    torch.manual_seed(0)
    combiner, experts, x_TD = COMBINERS[name](), pool(), torch.randn(9, 8)
    idx_TK = torch.randint(2, (9, 1)).repeat(1, 2) + torch.tensor([0, 1])
    scores_TE = torch.rand(9, 4)
    plan = Capacity(0.7).admit(Plan(idx_TK, scores_TE.gather(-1, idx_TK), scores_TE, scores_TE, full=True))
    assert plan.kept_TK is not None
    assert 0 < int(plan.kept_TK.sum()) < 18
    empty = Plan(torch.where(plan.kept_TK, idx_TK, 4), plan.weights_TK * plan.kept_TK, scores_TE, scores_TE)
    wanted = combiner(x_TD, empty, experts, Auto(), RoutingContext())
    for dispatcher in (Capacity(0.7), Capacity(0.7, pad=True)):
        torch.testing.assert_close(combiner(x_TD, plan, experts, dispatcher, RoutingContext()), wanted)
