from __future__ import annotations

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn import (
    FFN,
    Capacity,
    CoreLoRA,
    LinearGate,
    LoRA,
    Modulation,
    RoutedLayer,
    RoutingContext,
    Soft,
    TaskTableGate,
    TopK,
    WeightedSum,
    WeightSpace,
)


def lora() -> LoRA:
    torch.manual_seed(0)
    pool = LoRA(4, 8, 6, rank=2)
    nn.init.normal_(pool.lora_B)
    return pool


@pytest.mark.parametrize("pad", [False, True])
def test_what_a_capacity_drops_is_in_no_mixture(pad: bool) -> None:
    torch.manual_seed(0)
    pool, gate, x_TD = lora(), LinearGate(8, 4), torch.randn(16, 8)
    context = RoutingContext(sequence_T=torch.arange(16) // 4)
    dispatcher = Capacity(0.5, pad=pad)
    routed = RoutedLayer(gate, TopK(2), pool, combiner=WeightSpace("sequence"), dispatcher=dispatcher)(x_TD, context)
    kept = routed.plan.as_run()
    held_T = kept.mask_TK.any(-1)
    assert held_T.any()
    assert not held_T.all()
    for sequence in range(4):
        of_T = (torch.arange(16) // 4 == sequence) & held_T
        weights_E = kept.weights_TE[of_T].sum(0) / max(int(of_T.sum()), 1)
        mixed = pool.merged(weights_E[None])
        torch.testing.assert_close(routed.output[of_T], x_TD[of_T] @ mixed.delta(0).T, rtol=1e-4, atol=1e-4)
    assert not routed.output[~held_T].any()


def test_per_token_of_cores_is_the_sum_of_outputs() -> None:
    torch.manual_seed(0)
    pool, gate = CoreLoRA(4, 8, 6, rank=3), LinearGate(8, 4)
    nn.init.normal_(pool.lora_B)
    x_TD = torch.randn(5, 8)
    outputs = [RoutedLayer(gate, TopK(2), pool, combiner=how)(x_TD).output for how in (WeightSpace(), WeightedSum())]
    torch.testing.assert_close(*outputs)


def test_per_token_mixes_each_tokens_own_weights() -> None:
    pool, x_TD = lora(), torch.randn(5, 8)
    routed = RoutedLayer(LinearGate(8, 4), TopK(2), pool, combiner=WeightSpace())(x_TD)
    for t in range(5):
        weights_E = routed.plan.weights_TE[t]
        a_RD, b_OR = (
            torch.einsum("e,erd->rd", weights_E, pool.lora_A),
            torch.einsum("e,eor->or", weights_E, pool.lora_B),
        )
        torch.testing.assert_close(routed.output[t], pool.scaling * b_OR @ a_RD @ x_TD[t])


def test_a_sequence_shares_the_mean_of_its_tokens_without_padding() -> None:
    pool, x_TD = FFN(3, 8, 4), torch.randn(5, 8)
    layer = RoutedLayer(LinearGate(8, 3), Soft(), pool, combiner=WeightSpace("sequence"))
    mask_T = torch.tensor([True, True, True, True, False])
    routed = layer(x_TD, RoutingContext(sequence_T=torch.tensor([7, 3, 7, 3, 3]), mask_T=mask_T))
    weights_E = routed.plan.weights_TE[[1, 3]].mean(0)
    gate_H, up_H = (torch.einsum("e,ehd->hd", weights_E, pool.gate_up_proj) @ x_TD[1]).chunk(2)
    wanted_D = torch.einsum("e,edh->dh", weights_E, pool.down_proj) @ (nn.functional.silu(gate_H) * up_H)
    torch.testing.assert_close(routed.output[1], wanted_D)


def test_blocks_of_a_task_are_mixed_apart() -> None:
    pool, table = lora(), TaskTableGate(3, 4, blocks=2, spread=2.0)
    layer = RoutedLayer(table, Soft(), pool, combiner=WeightSpace("task", blocks=table))
    x_TD, task_T = torch.randn(4, 8), torch.tensor([2, 0, 2, 2])
    routed = layer(x_TD, RoutingContext(task_T=task_T))
    for t in range(4):
        first_E, second_E = table.weights(task_T)[t]
        a = torch.cat(
            [
                torch.einsum("e,erd->rd", w, part)
                for w, part in zip((first_E, second_E), pool.lora_A.split(4, dim=2), strict=True)
            ],
            dim=1,
        )
        b = torch.cat(
            [
                torch.einsum("e,eor->or", w, part)
                for w, part in zip((first_E, second_E), pool.lora_B.split(3, dim=1), strict=True)
            ],
            dim=0,
        )
        torch.testing.assert_close(routed.output[t], pool.scaling * b @ a @ x_TD[t])
    routed.output.sum().backward()
    assert table.table.grad is not None
    assert table.table.grad[[0, 2]].all()
    assert not table.table.grad[1].any()


def test_what_it_refuses() -> None:
    with pytest.raises(RoutingError, match=r"per sequence needs sequence_T of shape \(3,\), got None"):
        RoutedLayer(LinearGate(8, 4), Soft(), lora(), combiner=WeightSpace("sequence"))(torch.randn(3, 8))
    with pytest.raises(RoutingError, match="Modulation cannot be merged in weight space"):
        RoutedLayer(LinearGate(8, 4), Soft(), Modulation(4, 8, 8), combiner=WeightSpace())(torch.randn(3, 8))
    with pytest.raises(RoutingError, match="blocks are mixed per task, got per='token'"):
        WeightSpace(blocks=TaskTableGate(3, 4, blocks=2))
