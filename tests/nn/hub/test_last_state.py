from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from turnout import models
from turnout.errors import ModelError, UnknownNameError
from turnout.nn.hub import last_state
from turnout.nn.hub.last_state import LONGEST, LastState
from turnout.signals.sentence import Sentence

transformers = pytest.importorskip("transformers")


class Letters:
    """A tokenizer of single letters."""

    eos_token_id = 0

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [1 + ord(letter) % 60 for letter in text]}


@pytest.fixture(scope="module")
def encoder() -> LastState:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    return LastState(transformers.LlamaForCausalLM(config).eval(), Letters(), "tiny")


def state(encoder: LastState, text: str) -> np.ndarray:
    with torch.no_grad():
        told = encoder._states(torch.tensor([Letters()(text)["input_ids"]]), output_hidden_states=True)
    return np.asarray(told.hidden_states[-1][0, -1].numpy())


def test_a_row_is_the_models_last_state_of_the_last_token(encoder: LastState) -> None:
    rows_NH = encoder.encode(["how many apples?", "a"])
    assert rows_NH.shape == (2, encoder.dimensions)
    for row_H, text in zip(rows_NH, ["how many apples?", "a"], strict=True):
        whole_H = state(encoder, text)
        assert row_H == pytest.approx(whole_H / np.linalg.norm(whole_H), abs=1e-5)


def test_of_a_long_text_the_end_is_read(encoder: LastState) -> None:
    end = "b" * (LONGEST - 1) + "?"
    assert np.array_equal(encoder.encode(["a" * 50 + end]), encoder.encode([end]))


def test_an_empty_text_has_a_row(encoder: LastState) -> None:
    assert np.linalg.norm(encoder.encode([""])) == pytest.approx(1.0, abs=1e-5)


def test_a_text_is_read_once(encoder: LastState, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encoder.encode(["once"])
    monkeypatch.setattr(encoder, "_states", lambda **_: pytest.fail("read again"))
    assert np.array_equal(encoder.encode(["once"]), first)


def test_weights_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"turnout models pull qwen2\.5-coder-0\.5b"):
        Sentence("qwen2.5-coder-0.5b").fit(["a"])
    with pytest.raises(UnknownNameError, match=r"gpt-9.*smollm2-135m"):
        Sentence("gpt-9").fit(["a"])
    with pytest.raises(ModelError, match="there is no file"):
        Sentence(str(tmp_path / "none.gguf")).fit(["a"])


@pytest.mark.slow
def test_a_pulled_model_tells_kinds_of_questions_apart() -> None:
    pytest.importorskip("gguf")
    if models.missing(["smollm2-135m"]):
        pytest.skip("no weights: turnout models pull smollm2-135m")
    sums = ["What is 12 times 7?", "How much is 31 plus 58?"]
    songs = ["Write a song about the sea.", "Write a song about a train."]
    signal = Sentence("smollm2-135m").fit([])
    alike_44 = (rows := signal.transform([*sums, *songs])) @ rows.T
    assert rows.shape == (4, 576)
    assert min(alike_44[0, 1], alike_44[2, 3]) > alike_44[:2, 2:].max()
    assert signal.table_ == last_state.load("smollm2-135m").id
