"""Every path equals the dense reference in value and in all gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from turnout import registry
from turnout.errors import RoutingError
from turnout.nn import FFN, Capacity, Dense, Plan
from turnout.nn.base import Dispatcher, Experts

DISPATCHERS: Mapping[str, Dispatcher] = {
    **{name: registry.get("dispatcher", name)() for name in registry.names("dispatcher") if name != "capacity"},
    "capacity, dropless": Capacity(0),
    "capacity, dropless, padded": Capacity(0, pad=True),
    "capacity, ample": Capacity(8),
    "capacity, ample, padded": Capacity(8, pad=True, priority="batch"),
    "capacity, capped above need": Capacity(-8, pad=True, priority="choice"),
}
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 3e-2}


def plan_of(chosen_TE: Tensor, seed: int = 0) -> Plan:
    weights_TE = torch.rand(chosen_TE.shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    return Plan.of_mask(chosen_TE, weights_TE, weights_TE)


def full_plan(tokens: int, k: int, experts: int, seed: int = 0) -> Plan:
    generator = torch.Generator().manual_seed(seed)
    scores_TE = torch.rand(tokens, experts, generator=generator).requires_grad_()
    idx_TK = scores_TE.topk(k, -1).indices
    return Plan(idx_TK, scores_TE.gather(-1, idx_TK), scores_TE, scores_TE, full=True)


def results(
    dispatcher: Dispatcher, x_TD: Tensor, plan: Plan, experts: Experts, *, at_once: bool = False
) -> dict[str, Tensor]:
    """The combined output and the gradient of every input; `at_once` by the path that sums as it goes."""
    x_TD = x_TD.clone().requires_grad_()
    if at_once:
        y_TM = dispatcher.weighted(x_TD, plan, experts)
    else:
        y_TM = dispatcher(x_TD, plan, experts).weighted_sum(plan.weights_TK)
    target_TM = torch.linspace(-1, 1, y_TM.numel()).view_as(y_TM).to(y_TM.dtype)
    sources = {"x": x_TD, "scores": plan.scores_TE, **dict(experts.named_parameters())}
    found = torch.autograd.grad((y_TM * target_TM).sum(), list(sources.values()), retain_graph=True, allow_unused=True)
    zeros = (
        torch.zeros_like(source) if grad is None else grad for source, grad in zip(sources.values(), found, strict=True)
    )
    return {"y": y_TM.detach(), **dict(zip(sources, zeros, strict=True))}


def assert_equal_to_dense(dispatcher: Dispatcher, x_TD: Tensor, plan: Plan, experts: Experts) -> None:
    wanted = results(Dense(), x_TD, plan, experts)
    for at_once in (False, True):
        compare(results(dispatcher, x_TD, plan, experts, at_once=at_once), wanted, TOLERANCE[x_TD.dtype])


def compare(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float) -> None:
    for name, tensor in wanted.items():
        scale = max(1.0, float(tensor.abs().max())) if tensor.numel() else 1.0
        error = float((found[name] - tensor).abs().max()) / scale if tensor.numel() else 0.0
        assert found[name].shape == tensor.shape
        assert error <= tolerance, f"{name} differs from dense by {error:.2g}"


@pytest.mark.parametrize("name", DISPATCHERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_full_plans(name: str, dtype: torch.dtype, k: int) -> None:
    torch.manual_seed(0)
    experts = FFN(5, 16, 8).to(dtype)
    assert_equal_to_dense(DISPATCHERS[name], torch.randn(33, 16, dtype=dtype), full_plan(33, k, 5), experts)


@pytest.mark.parametrize("name", DISPATCHERS)
@pytest.mark.parametrize("case", ["no expert", "one expert", "ragged", "empty batch", "empty full batch"])
def test_unusual_plans(name: str, case: str) -> None:
    torch.manual_seed(0)
    experts = FFN(4, 8, 8, gated=False)
    if case == "empty full batch":
        plan = full_plan(0, 2, 4)
    else:
        chosen_TE = torch.zeros(0 if case == "empty batch" else 9, 4, dtype=torch.bool)
        if case == "one expert":
            chosen_TE[:, 2] = True
        if case == "ragged":
            chosen_TE = torch.rand(9, 4) < 0.4
        plan = plan_of(chosen_TE)
    assert_equal_to_dense(DISPATCHERS[name], torch.randn(plan.tokens, 8), plan, experts)


@pytest.mark.parametrize("name", DISPATCHERS)
def test_odd_widths_and_float64(name: str) -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        experts = FFN(3, 5, 7).to(dtype)
        assert_equal_to_dense(DISPATCHERS[name], torch.randn(11, 5, dtype=dtype), full_plan(11, 2, 3), experts)


@settings(max_examples=40, deadline=None)
@given(
    chosen=st.integers(0, 6).flatmap(
        lambda experts: st.lists(st.lists(st.booleans(), min_size=experts + 1, max_size=experts + 1), max_size=12)
    ),
    name=st.sampled_from(sorted(DISPATCHERS)),
    widths=st.tuples(st.sampled_from([3, 4, 8]), st.sampled_from([4, 6])),
)
def test_any_plan(chosen: list[list[bool]], name: str, widths: tuple[int, int]) -> None:
    experts = FFN(len(chosen[0]) if chosen else 2, *widths)
    chosen_TE = torch.tensor(chosen, dtype=torch.bool).view(len(chosen), experts.experts)
    assert_equal_to_dense(DISPATCHERS[name], torch.randn(len(chosen), widths[0]), plan_of(chosen_TE), experts)


@pytest.mark.parametrize("name", DISPATCHERS)
def test_outputs_come_back_in_the_order_of_the_plan(name: str) -> None:
    experts, x_TD = FFN(4, 8, 8), torch.randn(6, 8)
    for plan in (full_plan(6, 3, 4), plan_of(torch.rand(6, 4) < 0.5)):
        found_TKM = DISPATCHERS[name](x_TD, plan, experts).by_token()
        for t in range(6):
            for slot, expert in enumerate(plan.idx_TK[t].tolist()):
                one = plan_of(torch.tensor([[e == expert for e in range(4)]]))
                wanted_M = Dense()(x_TD[t : t + 1], one, experts).by_token()[0, 0]
                torch.testing.assert_close(found_TKM[t, slot], wanted_M, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DISPATCHERS)
def test_autocast_multiplies_in_its_type(name: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_TM = DISPATCHERS[name](torch.randn(40, 8), full_plan(40, 2, 4), FFN(4, 8, 16)).rows_NM
    assert y_TM.dtype == torch.bfloat16


@pytest.mark.parametrize("name", DISPATCHERS)
def test_shapes_that_disagree_are_refused(name: str) -> None:
    with pytest.raises(RoutingError, match="the plan is for 3 tokens, got 4"):
        DISPATCHERS[name](torch.randn(4, 8), full_plan(3, 1, 4), FFN(4, 8, 8))
    with pytest.raises(RoutingError, match="the plan is for 4 experts, got 5"):
        DISPATCHERS[name](torch.randn(3, 8), full_plan(3, 1, 4), FFN(5, 8, 8))


def test_an_expert_twice_for_one_token_is_refused() -> None:
    plan = Plan(torch.tensor([[1, 1]]), torch.ones(1, 2), torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(RoutingError, match="the same expert twice"):
        plan.check()


@pytest.mark.parametrize("name", DISPATCHERS)
def test_indices_of_another_type_are_refused(name: str) -> None:
    plan = full_plan(3, 1, 4)
    with pytest.raises(RoutingError, match=r"indices must be int64, got torch\.int32"):
        DISPATCHERS[name](torch.randn(3, 8), replace(plan, idx_TK=plan.idx_TK.int()), FFN(4, 8, 8))
