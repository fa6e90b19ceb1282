"""LoRA experts."""

from __future__ import annotations

import torch

from turnout.nn import LinearGate, LoRA, RoutedLayer, TopK


def test_a_new_pool_changes_nothing() -> None:
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), LoRA(4, 8, 6, rank=2))
    assert not layer(torch.randn(5, 8)).output.any()


def test_one_expert_is_its_delta() -> None:
    pool = LoRA(3, 8, 6, rank=2, alpha=5.0)
    torch.nn.init.normal_(pool.lora_B)
    x_TD, only = torch.randn(4, 8), torch.tensor([[0.0, 1.0, 0.0]]).expand(4, 3)
    torch.testing.assert_close(pool.mixed(x_TD, only), x_TD @ pool.delta(1).T)


def test_merging_mixes_a_and_b_each() -> None:
    pool = LoRA(2, 4, 4, rank=2)
    torch.nn.init.normal_(pool.lora_B)
    merged = pool.merged(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    torch.testing.assert_close(merged.lora_A[0], pool.lora_A.mean(0))
    torch.testing.assert_close(merged.delta(1), pool.delta(0))
    merged.delta(0).sum().backward()
    assert pool.lora_A.grad is not None
    assert pool.lora_A.grad[1].any()
