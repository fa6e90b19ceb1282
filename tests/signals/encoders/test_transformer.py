"""The forward pass against one written out plainly, text by text, in float64."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from turnout.errors import ParameterError, StateError
from turnout.signals.encoders import remembering, transformer
from turnout.signals.encoders.transformer import HEAD, LONGEST, Transformer, load, read_tensors
from turnout.testing.encoders import LAYERS, tensors, write

TEXTS = ["sort a list", "who painted it?", "", "one", "a much longer text about lists, and how they are sorted " * 3]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("encoder") / "tiny.safetensors", tensors())


@pytest.fixture(scope="module")
def encoder(file: Path) -> Transformer:
    return load(file)


def plainly(held: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """Exact GELU, one head at a time."""
    erf = np.vectorize(math.erf)
    held = {name: array.astype(np.float64) for name, array in held.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-12)
        return x * held[f"{name}.weight"] + held[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ held[f"{name}.weight"].T + held[f"{name}.bias"]

    x = held["embeddings.word_embeddings.weight"][ids] + held["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + held["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for n in range(LAYERS):
        layer = f"encoder.layer.{n}"
        query, key, value = (dense(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        seen = np.empty_like(x)
        for start in range(0, x.shape[1], HEAD):
            head = slice(start, start + HEAD)
            share = np.exp(query[:, head] @ key[:, head].T / np.sqrt(HEAD))
            seen[:, head] = share / share.sum(axis=1, keepdims=True) @ value[:, head]
        x = norm(x + dense(seen, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        inner = 0.5 * inner * (1 + erf(inner / np.sqrt(2)))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_it_equals_the_forward_pass_written_out(encoder: Transformer) -> None:
    found_NH = encoder.encode(TEXTS)
    wanted_NH = np.stack([plainly(tensors(), encoder.ids(text)) for text in TEXTS])
    assert (found_NH * wanted_NH).sum(axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-4)


def test_marks_stand_at_both_ends_and_long_texts_are_cut(encoder: Transformer) -> None:
    assert encoder.ids("") == [101, 102]
    assert encoder.ids("list")[1:-1] == [2862]
    long = encoder.ids("list " * 1000)
    assert len(long) == LONGEST
    assert long[-1] == 102


def test_batches_do_not_change_a_text(encoder: Transformer, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(transformer, "BATCH", 8)
    fresh = Transformer(read_tensors(file)[0], vocabulary())
    assert fresh.encode(TEXTS) == pytest.approx(encoder.encode(TEXTS), abs=1e-5)


def vocabulary() -> dict[str, int]:
    lines = transformer._VOCABULARY.read_text(encoding="utf-8").split("\n")[:-1]
    return {token: place for place, token in enumerate(lines)}


def test_a_remembered_text_is_not_worked_out_again(encoder: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encoder.encode(["remember me", "and me"])
    monkeypatch.setattr(encoder, "_forward", lambda ids: pytest.fail("worked out again"))
    assert np.array_equal(encoder.encode(["and me", "remember me", "and me"]), first[[1, 0, 1]])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setattr(remembering, "REMEMBERED", 3)
    fresh = Transformer(read_tensors(file)[0], vocabulary())
    rows = [fresh.encode([str(n)])[0] for n in range(5)]  # one by one: batches of other sizes round otherwise
    assert len(fresh._known) == 3
    assert np.array_equal(fresh.encode(["0"])[0], rows[0])


@pytest.mark.parametrize("damage", ["cut", "header", "no tensor"])
def test_damaged_weights_are_refused(tmp_path: Path, damage: str) -> None:
    held = tensors()
    if damage == "no tensor":
        del held["encoder.layer.1.output.dense.bias"]
    file = write(tmp_path / "damaged.safetensors", held)
    raw = file.read_bytes()
    if damage == "cut":
        file.write_bytes(raw[: len(raw) // 2])
    if damage == "header":
        file.write_bytes(raw[:8] + b"x" + raw[9:])
    with pytest.raises(StateError, match="cannot be read"):
        load(file)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"absent\.safetensors"):
        load(tmp_path / "absent.safetensors")
