from __future__ import annotations

import torch

from turnout.nn.presets import aptp


def test_a_code_is_a_mask_of_one_network() -> None:
    pool = aptp._masked(2)
    assert pool.parts[0].first is pool.parts[1].first
    pool.eval()
    pool.parts[0].gates.data = torch.full((aptp.HIDDEN,), -9.0)
    pool.parts[1].gates.data = torch.full((aptp.HIDDEN,), 9.0)
    x_ND = torch.randn(3, 64)
    assert [part.size().item() for part in pool.parts] == [0.0, 1.0]
    assert torch.equal(pool.parts[0](x_ND), pool.parts[0].last.bias.expand(3, -1))
    assert torch.equal(pool.parts[1](x_ND), pool.parts[1].last(pool.parts[1].first(x_ND).relu()))


def test_masks_learn_through_the_draw() -> None:
    layer = aptp.APTP.build()["layer"]
    layer(torch.randn(64, 64)).output.square().sum().backward()
    assert all(part.gates.grad is None or torch.isfinite(part.gates.grad).all() for part in layer.experts.parts)
    assert any(part.gates.grad is not None and part.gates.grad.any() for part in layer.experts.parts)
