from __future__ import annotations

import torch

from turnout.nn.beds import chars
from turnout.nn.presets import expert_coupling


def test_its_columns_tell_a_coupled_model_from_one_that_is_not() -> None:
    ids_BS = torch.randint(128, (2, 8))
    model = chars.CharModel(chars.Size(width=16, heads=2, context=8), chars.BASELINES["top-2 + switch"])
    found = chars.Trained(model, 0.0, torch.zeros(2, 8), ids_BS, torch.zeros(2), model(ids_BS).plans, 0.0)
    columns = expert_coupling._coupling(found)
    assert columns["ERC loss"] > 0
    for block in model.blocks:  # experts that read one own coordinate, rows that point at it
        block.gate.linear.weight.data = torch.eye(16)
        block.experts.up_proj.data = torch.eye(16)[:, None, :].expand(16, 32, 16).clone()
    coupled = expert_coupling._coupling(found)
    assert coupled == {"rows answered most by their own expert": 1.0, "ERC loss": 0.0}


def test_build_gives_a_layer_with_the_loss() -> None:
    routed = expert_coupling.EXPERT_COUPLING.build()["layer"](torch.randn(5, 64))
    assert sorted(routed.losses) == ["expert_coupling", "switch_loss"]
