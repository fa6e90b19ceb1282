"""The bed on a Llama of a few thousand parameters; on SmolLM2 itself where slow tests are asked for."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from turnout.errors import ModelError, UnknownNameError
from turnout.nn.adapters import adapted, routing
from turnout.nn.beds import small_llm
from turnout.nn.beds.questions import SEEN, drawn
from turnout.nn.beds.small_llm import RECIPE, Bank, Early, Late, batch, figures, gated, loss_of, made
from turnout.nn.presets import _adapters
from turnout.nn.presets._adapters import VARIANTS
from turnout.nn.presets.glider import GLIDER
from turnout.nn.presets.phatgoose import PHATGOOSE
from turnout.systems.base import Run, System

pytest.importorskip("reasoning_gym")
transformers = pytest.importorskip("transformers")

SMALL = replace(RECIPE, layers=1, rank=2, train=4, asked=2, rows=2, epochs=2, rate=1e-2, gate_steps=2)


@pytest.fixture(scope="module")
def llama(byte_tokenizer: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=len(byte_tokenizer), num_key_value_heads=2, **sizes)
    return transformers.LlamaForCausalLM(config).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def bank(llama: Any, byte_tokenizer: Any) -> Bank:
    return made(llama, byte_tokenizer, 3, SMALL)


def test_the_two_halves_are_the_whole_model(llama: Any, byte_tokenizer: Any) -> None:
    inner = llama.model
    early = Early(byte_tokenizer, inner.embed_tokens, list(inner.layers)[:2], inner.rotary_emb)
    found = early.read(drawn(SEEN, 0, 3, 0).train[0])
    read = batch(found)
    logits_AV = Late(llama, 1)(read)
    expected = []
    for _, chat in found:  # alone, unpadded, through the model's own forward
        logits_SV = llama(input_ids=chat.ids_S[None]).logits[0]
        expected.append(logits_SV[-chat.answer - 1 : -1])
    torch.testing.assert_close(logits_AV, torch.cat(expected), atol=1e-5, rtol=1e-4)
    assert torch.equal(read.next_A, torch.cat([chat.ids_S[-chat.answer :] for _, chat in found]))
    assert read.rows().bincount().tolist() == [chat.answer for _, chat in found]
    assert read.mask_BS.sum(-1).tolist() == [len(chat.ids_S) for _, chat in found]


def test_each_adapter_learned_its_own_task_and_the_model_below_stayed(bank: Bank, llama: Any) -> None:
    own = [small_llm._scored(bank, "oracle", "seen", task, (100.0, 3.0)).loss for task in range(bank.experts)]
    none = [small_llm._scored(bank, "none", "seen", task, (100.0, 3.0)).loss for task in range(bank.experts)]
    assert all(a < b for a, b in zip(own, none, strict=True))
    for name, layer in adapted(bank.late).items():
        whole = llama.model.get_submodule(name.replace("layers.0", "layers.2"))
        assert torch.equal(layer.base_layer.weight, whole.weight)
        assert bool(layer.layer.experts.lora_B.flatten(1).any(-1).all())


def test_an_adapter_is_the_same_whatever_the_others_learn(bank: Bank, llama: Any, byte_tokenizer: Any) -> None:
    """Trained apart: a step on one task's chats moves no other adapter."""
    before = {name: layer.layer.experts.lora_B.detach().clone() for name, layer in adapted(bank.late).items()}
    trained = copy.deepcopy(bank)
    small_llm._train(trained, 5, trained.draws(9))
    for name, layer in adapted(trained.late).items():
        same_E = (layer.layer.experts.lora_B == before[name]).flatten(1).all(-1)
        assert same_E.tolist() == [expert != 5 for expert in range(8)]


@pytest.mark.parametrize("name", VARIANTS.values())
def test_every_variant_is_measured(bank: Bank, name: str) -> None:
    found = figures(bank, name)
    assert all(math.isfinite(value) for value in found.values())
    assert 0 <= found["exact"] <= 1
    assert 0 <= found["right expert"] <= 1
    assert figures(bank, name) == found
    if name == "oracle":
        assert (found["over the oracle"], found["right expert"]) == (0.0, 1.0)
        assert found["held-out loss"] <= figures(bank, "random")["held-out loss"] + 1e-6


def test_no_adapter_is_the_model_itself(bank: Bank, llama: Any) -> None:
    read = bank.seen[0]
    with routing(bank.late, weights=torch.zeros(8)):
        assert torch.equal(loss_of(bank.late, read), loss_of(Late(llama, 1), read))


def test_gates_of_a_kind_are_made_once_and_put_back(bank: Bank) -> None:
    def vectors() -> list[torch.Tensor]:
        return [layer.layer.gate.vectors.detach().clone() for layer in adapted(bank.late).values()]

    gated(bank, "arrow")
    arrow = vectors()
    gated(bank, "phatgoose")
    goose = vectors()
    assert not any(torch.equal(a, b) for a, b in zip(arrow, goose, strict=True))
    assert all(bool(each.any(-1).all()) for each in goose)
    gated(bank, "arrow")
    assert all(torch.equal(a, b) for a, b in zip(arrow, vectors(), strict=True))


def test_a_global_view_that_is_sure_decides(bank: Bank) -> None:
    assert figures(bank, "glider, sure", high=1e6)["right expert"] == figures(bank, "global")["right expert"]


@pytest.mark.parametrize(("system", "against"), [(PHATGOOSE, "average adapter"), (GLIDER, "phatgoose")])
def test_the_presets_measure_on_the_bed(
    bank: Bank, system: System, against: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_llm, "_banks", {3: bank, 4: bank})
    found = system.run(Run(None, "smollm2-135m", (3, 4)))
    names = [str(row["name"]) for row in found.rows]
    assert (names[0], found.against, found.table) == (system.name, against, "smollm2-135m")
    assert sorted(names) == sorted(VARIANTS)
    by_name = dict(zip(names, found.rows, strict=True))
    assert found.value.mean == by_name[system.name]["loss"]
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(float(by_name[system.name]["loss"]) - float(by_name[against]["loss"]))
    near = float(by_name[system.name]["over the oracle"]) <= 0.1
    assert (found.verdict == "reproduced") == (near and found.gain.high < 0)
    monkeypatch.setattr(_adapters, "BAR", -1.0)
    assert system.run(Run(None, "smollm2-135m", (3, 4))).verdict == "not at this size"


def test_the_preset_refuses_a_table_it_has_not() -> None:
    with pytest.raises(UnknownNameError, match="smollm2-135m"):
        PHATGOOSE.run(Run(None, "smollm2", (0,)))


def test_without_weights_the_preset_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    small_llm._loaded.cache_clear()
    with pytest.raises(ModelError, match="turnout models pull smollm2-135m"):
        PHATGOOSE.run(Run(None, "smollm2-135m", (0,)))
