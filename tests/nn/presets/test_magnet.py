from __future__ import annotations

import torch

from turnout.nn.beds import chars
from turnout.nn.presets import magnet


def test_its_columns_are_relative_entropies() -> None:
    ids_BS = torch.randint(128, (2, 8))
    model = chars.CharModel(chars.Size(width=16, heads=2, context=8), chars.BASELINES["top-2 + switch"])
    for block in model.blocks:
        block.gate.linear.weight.data.zero_()
    found = chars.Trained(model, 0.0, torch.zeros(2, 8), ids_BS, torch.zeros(2), model(ids_BS).plans, 0.0)
    columns = magnet._entropy(found)
    assert all(abs(value - 1) < 1e-4 for value in columns.values())


def test_build_gives_a_layer_that_pushes_coverage_first() -> None:
    layer = magnet.MAGNET.build()["layer"]
    assert layer(torch.randn(5, 64)).losses["entropy_loss"].item() < 0
