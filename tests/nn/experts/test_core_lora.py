from __future__ import annotations

import torch

from turnout.nn import CoreLoRA, Fused, LinearGate, RoutedLayer, TopK, WeightedSum


def filled() -> CoreLoRA:
    torch.manual_seed(0)
    pool = CoreLoRA(4, 8, 6, rank=3)
    torch.nn.init.normal_(pool.lora_B)
    return pool


def test_a_new_pool_changes_nothing() -> None:
    assert not RoutedLayer(LinearGate(8, 4), TopK(2), CoreLoRA(4, 8))(torch.randn(5, 8)).output.any()


def test_mixing_cores_is_the_sum_of_outputs() -> None:
    pool, x_TD, weights_TE = filled(), torch.randn(5, 8), torch.rand(5, 4)
    wanted_TO = sum(weights_TE[:, [e]] * (x_TD @ pool.delta(e).t()) for e in range(4))
    torch.testing.assert_close(pool.mixed(x_TD, weights_TE), wanted_TO)
    gate = LinearGate(8, 4)
    outputs = [RoutedLayer(gate, TopK(2), pool, combiner=how)(x_TD).output for how in (WeightedSum(), Fused())]
    torch.testing.assert_close(*outputs)


def test_merged_cores_are_the_mixed_matrix() -> None:
    pool, weights_GE = filled(), torch.rand(2, 4)
    merged = pool.merged(weights_GE)
    torch.testing.assert_close(merged.delta(1), sum(weights_GE[1, e] * pool.delta(e) for e in range(4)))
