"""Every pool runs under every dispatcher, with the same values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from turnout import registry
from turnout.errors import ParameterError, RoutingError
from turnout.nn import (
    FFN,
    Capacity,
    CoreLoRA,
    Dense,
    ExpertPool,
    Identity,
    LoRA,
    LowRank,
    Modulation,
    Modules,
    Plan,
    RankOne,
    Slices,
)
from turnout.nn.base import Dispatcher, Experts

POOLS: Mapping[str, Callable[[], Experts]] = {
    "core_lora": lambda: CoreLoRA(4, 8, 6, rank=3),
    "expert_pool": lambda: ExpertPool(FFN(6, 8, 8)).view([1, 5, 0, 2]),
    "ffn": lambda: FFN(4, 8, 5, activation="relu2", gated=False),
    "identity": lambda: Identity(4, scale=0.5),
    "lora": lambda: LoRA(4, 8, 6, rank=3),
    "low_rank": lambda: LowRank(4, 8, 6, rank=3),
    "modulation": lambda: Modulation(4, 8, 12, mapped=True),
    "modules": lambda: Modules(
        [
            nn.Linear(8, 6),
            nn.Sequential(nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 6)),
            nn.Linear(8, 6, bias=False),
            nn.Linear(8, 6),
        ]
    ),
    "rank_one": lambda: RankOne(4, 8, 6),
    "slices": lambda: Slices(4, 8, 12),
}
MORE: Mapping[str, Callable[[], Experts]] = {
    "expert_pool, a stretch": lambda: ExpertPool(FFN(6, 8, 8)).view(range(2, 6)),
    "expert_pool, whole": lambda: ExpertPool(LoRA(4, 8, 8, rank=2)),
    "modulation, vectors": lambda: Modulation(4, 8, 12),
}
DISPATCHERS: Mapping[str, Dispatcher] = {
    **{name: registry.get("dispatcher", name)() for name in registry.names("dispatcher") if name != "capacity"},
    "capacity, padded": Capacity(0, pad=True),
}


def made(name: str) -> Experts:
    """A pool without a zero in it."""
    torch.manual_seed(0)
    pool = {**POOLS, **MORE}[name]()
    for parameter in pool.parameters():
        nn.init.normal_(parameter, std=0.5)
    return pool


def chosen_plan() -> Plan:
    generator = torch.Generator().manual_seed(1)
    chosen_TE = torch.rand(13, 4, generator=generator) < 0.5
    weights_TE = torch.rand(13, 4, generator=generator)
    return Plan.of_mask(chosen_TE, weights_TE, weights_TE)


def results(dispatcher: Dispatcher, pool: Experts) -> dict[str, Tensor]:
    plan = chosen_plan()
    x_TD = torch.randn(13, 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
    y_TM = dispatcher(x_TD, plan, pool).weighted_sum(plan.weights_TK)
    sources = {"x": x_TD, **dict(pool.named_parameters())}
    loss = (y_TM * torch.linspace(-1, 1, y_TM.numel()).view_as(y_TM)).sum()
    found = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    zeros = (torch.zeros_like(s) if g is None else g for s, g in zip(sources.values(), found, strict=True))
    return {"y": y_TM.detach(), **dict(zip(sources, zeros, strict=True))}


def test_the_pools_here_are_registered() -> None:
    assert set(POOLS) <= set(registry.names("experts"))


@pytest.mark.parametrize("name", {**POOLS, **MORE})
@pytest.mark.parametrize("dispatcher", DISPATCHERS)
def test_equal_to_dense(name: str, dispatcher: str) -> None:
    found, wanted = results(DISPATCHERS[dispatcher], made(name)), results(Dense(), made(name))
    assert wanted["y"].any()
    torch.testing.assert_close(found, wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", {**POOLS, **MORE})
def test_no_row_at_all(name: str) -> None:
    pool = made(name)
    plan = Plan.of_mask(torch.zeros(3, 4, dtype=torch.bool), torch.ones(3, 4), torch.ones(3, 4))
    for dispatcher in DISPATCHERS.values():
        assert not dispatcher(torch.randn(3, 8), plan, pool).weighted_sum(plan.weights_TK).any()


def merges(pool: Experts) -> bool:
    try:
        pool.merged(torch.ones(1, pool.experts))
    except RoutingError:
        return False
    return True


@pytest.mark.parametrize("name", {**POOLS, **MORE})
def test_merging_by_one_expert_is_that_expert(name: str) -> None:
    pool = made(name)
    if not merges(pool):
        with pytest.raises(RoutingError, match="cannot be merged in weight space"):
            pool.merged(torch.ones(1, 4))
        return
    merged = pool.merged(torch.eye(4)[[2, 0]])
    plan = Plan(torch.tensor([[0], [1], [1]]), torch.ones(3, 1), torch.ones(3, 2), torch.ones(3, 2), full=True)
    same = Plan(torch.tensor([[2], [0], [0]]), torch.ones(3, 1), torch.ones(3, 4), torch.ones(3, 4), full=True)
    x_TD = torch.randn(3, 8)
    torch.testing.assert_close(Dense()(x_TD, plan, merged).by_token(), Dense()(x_TD, same, pool).by_token())
    assert merged.experts == 2
    assert pool.experts == 4


def test_what_can_be_merged() -> None:
    assert {name for name in POOLS if merges(made(name))} == {
        "core_lora",
        "expert_pool",
        "ffn",
        "lora",
        "rank_one",
        "slices",
    }


@pytest.mark.parametrize("name", ["ffn", "lora", "core_lora", "rank_one"])
def test_merging_is_differentiable_in_weights_and_experts(name: str) -> None:
    pool, weights_GE = made(name), torch.rand(2, 4).requires_grad_()
    plan = Plan(torch.tensor([[0], [1]]), torch.ones(2, 1), torch.ones(2, 2), torch.ones(2, 2), full=True)
    Dense()(torch.randn(2, 8), plan, pool.merged(weights_GE)).rows_NM.square().sum().backward()
    assert weights_GE.grad is not None
    assert weights_GE.grad.all()
    assert all(parameter.grad is not None for parameter in pool.parameters())


@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 2, 3)])
def test_weights_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RoutingError, match=r"must be \[G, 4\], or \[G, B, 4\] for blocks"):
        made("lora").merged(torch.ones(shape))


def test_blocks_that_do_not_divide_are_refused() -> None:
    with pytest.raises(RoutingError, match="3 blocks do not divide a width of 8"):
        made("lora").merged(torch.ones(1, 3, 4))
    with pytest.raises(RoutingError, match="FFN has no blocks"):
        made("ffn").merged(torch.ones(1, 2, 4))


@pytest.mark.parametrize("kind", [FFN, LoRA, RankOne, CoreLoRA, LowRank])
def test_bad_sizes(kind: Callable[..., Experts]) -> None:
    with pytest.raises(ParameterError, match="`experts` must be an integer in"):
        kind(0, 8, 4)
