from __future__ import annotations

from pathlib import Path

import pytest
import torch

from turnout import models
from turnout.errors import ModelError, UnknownNameError
from turnout.nn.hub import load_local
from turnout.nn.hub.local import load_gguf

pytest.importorskip("transformers")
pytest.importorskip("gguf")


def test_weights_that_are_not_here_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="`turnout models pull smollm2-135m`"):
        load_local("smollm2-135m")


def test_only_language_models_are_loaded() -> None:
    with pytest.raises(UnknownNameError, match="all-minilm-l6-v2"):
        load_local("all-minilm-l6-v2")


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no file"):
        load_gguf(tmp_path / "none.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF no")
    with pytest.raises(ModelError, match=r"bad\.gguf cannot be read"):
        load_gguf(tmp_path / "bad.gguf")


@pytest.mark.slow
def test_smollm2_answers_and_trains() -> None:
    if models.missing(["smollm2-135m"]):
        pytest.skip("no weights: turnout models pull smollm2-135m")
    model, tokenizer = load_local("smollm2-135m")
    asked = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**asked, max_new_tokens=2, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])
    assert not getattr(model, "is_quantized", False)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert all(p.dtype == torch.float32 for p in model.parameters())
    model(**asked, labels=asked["input_ids"]).loss.backward()
