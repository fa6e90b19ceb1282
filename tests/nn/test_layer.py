from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import FFN, LinearGate, Override, Plan, RoutedLayer, RoutingContext, TopK


def test_padding_gets_no_expert_and_no_output() -> None:
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    mask_T = torch.tensor([True, False, True])
    routed = layer(torch.randn(3, 8), RoutingContext(mask_T=mask_T))
    assert routed.plan.mask_TK.tolist() == [[True, True], [False, False], [True, True]]
    assert not routed.output[1].any()


def test_silenced_experts_are_never_chosen() -> None:
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    context = RoutingContext(layer=3, overrides={3: Override(silence=(0, 2))})
    counts = layer(torch.randn(50, 8), context).plan.counts_E.tolist()
    assert counts == [0, 50, 0, 50]


def test_gate_and_pool_must_agree() -> None:
    with pytest.raises(RoutingError, match="the gate scores 4 experts, the pool has 5"):
        RoutedLayer(LinearGate(8, 4), TopK(2), FFN(5, 8, 16))


def test_nan_is_refused_with_its_row() -> None:
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    x = torch.randn(3, 8)
    x[1] = float("nan")
    with pytest.raises(RoutingError, match="NaN in row 1 of 3"):
        layer(x)


def test_padding_sees_no_expert_though_a_hand_gives_the_plan() -> None:
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    plan = Plan(torch.zeros(3, 1, dtype=torch.int64), torch.ones(3, 1), torch.zeros(3, 4), torch.zeros(3, 4), full=True)
    mask_T = torch.tensor([True, False, True])
    routed = layer(torch.randn(3, 8), RoutingContext(mask_T=mask_T, overrides={0: Override(plan=plan)}))
    assert routed.plan.counts_E.tolist() == [2, 0, 0, 0]
    assert not routed.output[1].any()
    with pytest.raises(RoutingError, match="mask"):
        layer(torch.randn(3, 8), RoutingContext(mask_T=mask_T[:2], overrides={0: Override(plan=plan)}))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
def test_a_plan_of_other_numbers_than_int64_is_refused(dtype: torch.dtype) -> None:
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    plan = Plan(torch.zeros(3, 1, dtype=dtype), torch.ones(3, 1), torch.zeros(3, 4), torch.zeros(3, 4))
    with pytest.raises(RoutingError, match="indices must be int64"):
        layer(torch.randn(3, 8), RoutingContext(overrides={0: Override(plan=plan)}))
