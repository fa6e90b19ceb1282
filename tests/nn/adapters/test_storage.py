"""Adapters saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError, StateError
from turnout.nn import LinearGate, LoRA, RoutedLayer, TopK
from turnout.nn.adapters import Pool, adapted, attach, load, save

POOL = Pool(experts=3, gate="vector_gate", options={"experts": {"rank": 2}, "gate": {"score": "cosine"}})


def model_of(width: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 4))


def trained() -> nn.Sequential:
    model = model_of()
    attach(model, "0|2", POOL)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    return model


def test_what_is_saved_loads_into_a_bare_model(tmp_path: Path) -> None:
    model, other, x = trained(), model_of(), torch.randn(5, 6)
    load(other, save(model, tmp_path / "a"))
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)
    assert adapted(other)["0"].layer.gate.score == "cosine"


def test_the_frozen_model_is_not_in_the_file(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save(trained(), tmp_path)
    assert set(load_file(tmp_path / "adapters.safetensors")) == {
        f"{name}.{key}" for name in ("0", "2") for key in ("gate.vectors", "experts.lora_A", "experts.lora_B")
    }


def test_adapters_of_a_function_need_it_again(tmp_path: Path) -> None:
    def make(linear: nn.Linear, name: str) -> RoutedLayer:
        pool = LoRA(2, linear.in_features, linear.out_features, rank=1)
        return RoutedLayer(LinearGate(linear.in_features, 2), TopK(1), pool)

    model = model_of()
    attach(model, "0", make)
    save(model, tmp_path)
    with pytest.raises(StateError, match="function"):
        load(model_of(), tmp_path)
    other = model_of()
    load(other, tmp_path, make)
    assert adapted(other).keys() == {"0"}


def test_a_pool_whose_options_hold_a_function_is_needed_again(tmp_path: Path) -> None:
    pool = Pool(2, balancers=("entropy_loss",), options={"entropy_loss": {"schedule": lambda step: 0.5}})
    model, other = model_of(), model_of()
    attach(model, "0", pool)
    save(model, tmp_path)
    with pytest.raises(StateError, match="hold more than plain values; give the same one"):
        load(other, tmp_path)
    load(other, tmp_path, pool)
    assert adapted(other).keys() == {"0"}


def test_another_model_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    save(trained(), tmp_path)
    other = model_of(5)
    with pytest.raises(StateError, match="5 → 8 here, 6 → 8"):
        load(other, tmp_path)
    assert not adapted(other)
    bare = nn.Sequential(nn.Linear(6, 8))
    with pytest.raises(StateError, match="no linear layer"):
        load(bare, tmp_path)


def test_other_adapters_are_refused(tmp_path: Path) -> None:
    save(trained(), tmp_path)
    other = model_of()
    attach(other, "0", POOL)
    with pytest.raises(StateError, match="same layers"):
        load(other, tmp_path)
    wider = model_of()
    attach(wider, "0|2", Pool(experts=4, gate="vector_gate", options={"experts": {"rank": 2}}))
    with pytest.raises(StateError, match="another shape"):
        load(wider, tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(RoutingError, match="no adapters"):
        save(model_of(), tmp_path)
    with pytest.raises(StateError, match="cannot read"):
        load(model_of(), tmp_path / "none")
    save(trained(), tmp_path)
    recipe = json.loads((tmp_path / "adapters.json").read_text())
    (tmp_path / "adapters.json").write_text(json.dumps({**recipe, "format": 9}))
    with pytest.raises(StateError, match="format 9"):
        load(model_of(), tmp_path)
    (tmp_path / "adapters.safetensors").write_bytes(b"no")
    with pytest.raises(StateError, match="cannot read"):
        load(model_of(), tmp_path)


def test_a_layer_of_two_names_comes_back_under_both(tmp_path: Path) -> None:
    def twice() -> nn.Sequential:
        torch.manual_seed(0)
        shared = nn.Linear(6, 6)
        return nn.Sequential(shared, nn.ReLU(), shared)

    model, other, x = twice(), twice(), torch.randn(5, 6)
    attach(model, "0|2", POOL)
    nn.init.normal_(adapted(model)["0"].layer.experts.lora_B)
    load(other, save(model, tmp_path / "a"))
    assert other[2] is other[0]
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda recipe: [], "holds no object"),
        (lambda recipe: {**recipe, "layers": None}, "by name"),
        (lambda recipe: {**recipe, "layers": {"0": [4]}}, "by name"),
        (lambda recipe: {**recipe, "pool": {**recipe["pool"], "more": 1}}, "more"),
        (lambda recipe: {**recipe, "pool": {"experts": 2}}, "balancers"),
    ],
)
def test_a_damaged_recipe_is_named(change: Callable[[Any], Any], match: str, tmp_path: Path) -> None:
    save(trained(), tmp_path)
    recipe = json.loads((tmp_path / "adapters.json").read_text())
    (tmp_path / "adapters.json").write_text(json.dumps(change(recipe)))
    bare = model_of()
    with pytest.raises(StateError, match=match):
        load(bare, tmp_path)
    assert not adapted(bare)
