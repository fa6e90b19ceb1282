"""PEFT's layout, checked with peft itself where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from turnout.errors import ParameterError, StateError
from turnout.nn import LinearGate, LoRA, RoutedLayer, TopK
from turnout.nn.adapters import Pool, adapted, attach, attach_peft, load_peft, routing, save_peft


def model_of() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def made(tmp_path: Path, expert: int = 1) -> tuple[nn.Module, Path]:
    model = model_of()
    attach(model, "0|2", Pool(experts=3, options={"experts": {"rank": 2, "alpha": 5.0}}))
    for layer in adapted(model).values():
        nn.init.normal_(layer.layer.experts.lora_B)
    return model, save_peft(model, tmp_path / "adapter", expert)


def of_peft(folder: Path, **config: object) -> torch.nn.Module:
    """An adapter as peft writes it; the model with it."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    wanted = {"r": 2, "lora_alpha": 6, "target_modules": ["0", "2"], "init_lora_weights": False, **config}
    model = peft.get_peft_model(model_of(), peft.LoraConfig(**wanted))
    model.save_pretrained(folder)
    return model.eval()


def test_an_expert_goes_out_and_comes_back(tmp_path: Path) -> None:
    model, folder = made(tmp_path)
    other = model_of()
    attach_peft(other, [folder])
    x = torch.randn(5, 6)
    with routing(model, expert=1), routing(other, expert=0):
        torch.testing.assert_close(other(x), model(x))


def test_peft_loads_an_exported_expert(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model, folder = made(tmp_path)
    theirs = peft.PeftModel.from_pretrained(model_of(), folder)
    x = torch.randn(5, 6)
    with routing(model, expert=1):
        torch.testing.assert_close(theirs(x), model(x))


@pytest.mark.parametrize(
    "config", [{}, {"r": 3}, {"use_rslora": True}, {"target_modules": ["2"]}, {"alpha_pattern": {"2": 12}}]
)
def test_an_adapter_of_peft_is_an_expert(tmp_path: Path, config: dict[str, object]) -> None:
    theirs = of_peft(tmp_path, **config)
    ours = model_of()
    attach(ours, "0|2", Pool(experts=4, options={"experts": {"rank": 4}}))
    load_peft(ours, tmp_path, 2)
    x = torch.randn(5, 6)
    with routing(ours, expert=2):
        torch.testing.assert_close(ours(x), theirs(x))


def test_several_adapters_of_peft_attach_in_one_call(tmp_path: Path) -> None:
    folders = [tmp_path / str(rank) for rank in (1, 2, 3)]
    theirs = [of_peft(folder, r=rank) for rank, folder in enumerate(folders, start=1)]
    ours = model_of()
    layers = attach_peft(ours, folders)
    assert [layer.layer.experts.rank for layer in layers.values()] == [3, 3]
    x = torch.randn(5, 6)
    for expert, model in enumerate(theirs):
        with routing(ours, expert=expert):
            torch.testing.assert_close(ours(x), model(x))


@pytest.mark.parametrize("config", [{"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["2"]}])
def test_more_than_a_low_rank_matrix_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    of_peft(tmp_path, **{"target_modules": ["0"], **config})
    ours = model_of()
    with pytest.raises(StateError, match=next(iter(config))):
        attach_peft(ours, [tmp_path])
    assert not adapted(ours)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    _, folder = made(tmp_path)
    narrow = model_of()
    attach(narrow, "0|2", Pool(experts=2, options={"experts": {"rank": 1}}))
    with pytest.raises(StateError, match="the pool takes"):
        load_peft(narrow, folder, 0)
    with pytest.raises(ParameterError, match="0 to 1"):
        load_peft(narrow, folder, 2)
    elsewhere = model_of()
    attach(elsewhere, "0")
    with pytest.raises(StateError, match="no pool"):
        load_peft(elsewhere, folder, 0)
    with pytest.raises(StateError, match="no linear layer"):
        attach_peft(nn.Sequential(nn.Linear(6, 8)), [folder])
    with pytest.raises(ParameterError, match="at least one"):
        attach_peft(model_of(), [])


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot read"):
        attach_peft(model_of(), [tmp_path / "none"])
    _, folder = made(tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    with pytest.raises(StateError, match="LORA"):
        attach_peft(model_of(), [folder])
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(StateError, match="holds no object"):
        attach_peft(model_of(), [folder])


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_beside_changed_weights_is_refused(tmp_path: Path, start: str) -> None:
    of_peft(tmp_path, init_lora_weights=start)
    with pytest.raises(StateError, match=f"init_lora_weights='{start}' .* converted"):
        attach_peft(model_of(), [tmp_path])


@pytest.mark.parametrize("start", ["gaussian", "orthogonal"])
def test_other_starts_are_plain(tmp_path: Path, start: str) -> None:
    theirs, ours = of_peft(tmp_path, init_lora_weights=start), model_of()
    attach_peft(ours, [tmp_path])
    x = torch.randn(5, 6)
    with routing(ours, expert=0):
        torch.testing.assert_close(ours(x), theirs(x))


def test_layers_of_their_own_rank_go_out_too(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")

    class Named(nn.Module):
        """One layer's name ends another's."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.up = nn.Linear(6, 8)
            self.block = nn.ModuleDict({"up": nn.Linear(8, 6)})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.block["up"](self.up(x).relu())

    def beside(linear: nn.Linear, name: str) -> RoutedLayer:
        rank, alpha = (2, 3.0) if name == "up" else (4, 32.0)
        pool = LoRA(2, linear.in_features, linear.out_features, rank=rank, alpha=alpha)
        nn.init.normal_(pool.lora_B)
        return RoutedLayer(LinearGate(linear.in_features, 2), TopK(1), pool)

    model, again = Named(), Named()
    attach(model, "up", beside)
    save_peft(model, tmp_path, 1)
    x = torch.randn(5, 6)
    with routing(model, expert=1):
        wanted = model(x)
    torch.testing.assert_close(peft.PeftModel.from_pretrained(Named(), tmp_path)(x), wanted)
    attach_peft(again, [tmp_path])
    with routing(again, expert=0):
        torch.testing.assert_close(again(x), wanted)
