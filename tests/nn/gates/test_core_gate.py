"""A gate in core space."""

from __future__ import annotations

import torch

from turnout.nn import CoreGate, CoreLoRA, Fused, RoutedLayer, Soft, WeightedSum


def test_it_sees_only_what_the_shared_projection_keeps() -> None:
    torch.manual_seed(0)
    pool = CoreLoRA(4, 8, rank=2)
    gate = CoreGate(pool)
    x = torch.randn(3, 8)
    _, _, directions = torch.linalg.svd(pool.lora_A)
    hidden = directions[2:].sum(0).detach()
    torch.testing.assert_close(gate(x + 10 * hidden)[0], gate(x)[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gate(x)[0], pool.inner(x) @ gate.linear.weight.T)


def test_mixing_cores_equals_mixing_outputs() -> None:
    torch.manual_seed(0)
    pool = CoreLoRA(4, 8, 6, rank=2)
    torch.nn.init.normal_(pool.lora_B)
    gate, x = CoreGate(pool), torch.randn(5, 8)
    one, other = (RoutedLayer(gate, Soft(), pool, combiner=c)(x).output for c in (Fused(), WeightedSum()))
    torch.testing.assert_close(one, other)
