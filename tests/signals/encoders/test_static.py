from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from turnout.errors import ParameterError, StateError
from turnout.signals.encoders import static
from turnout.signals.encoders.static import StaticEncoder, load

TOKENS = ["[UNK]", "red", "green", "##ish", "blue"]
TABLE_VD = np.array([[1, 1, 1], [100, 0, 0], [0, 100, 0], [0, 0, 50], [-100, 0, 0]], dtype=np.int8)
SCALE_V = np.array([0.01, 0.01, 0.02, 0.02, 0.01], dtype=np.float32)


@pytest.fixture
def tiny() -> StaticEncoder:
    return StaticEncoder(TABLE_VD, SCALE_V, {token: id for id, token in enumerate(TOKENS)}, "tiny")


def by_hand(encoder: StaticEncoder, text: str) -> np.ndarray:
    rows = encoder.table_VD.astype(np.float64) * encoder.scale_V[:, None]
    total = sum((rows[id] for id in encoder.ids(text)), np.zeros(encoder.dimensions))
    return total / (np.linalg.norm(total) or 1.0)


@pytest.mark.parametrize("text", ["red", "red green", "greenish RED red", "what", "red?", "", "red blue"])
def test_a_text_is_the_unit_sum_of_its_rows(tiny: StaticEncoder, text: str) -> None:
    assert tiny.encode([text])[0] == pytest.approx(by_hand(tiny, text), abs=1e-6)


def test_the_shipped_table_is_the_sum_of_its_rows() -> None:
    encoder = load("minilm")
    for text in ("How do I sort a list?", "antidisestablishmentarianism, naïvely — 42!", "x" * 300):
        assert encoder.encode([text])[0] == pytest.approx(by_hand(encoder, text), abs=1e-5)


def test_a_full_memory_of_words_starts_anew(tiny: StaticEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "CACHED_WORDS", 3)
    small = StaticEncoder(TABLE_VD, SCALE_V, tiny.vocabulary)
    for text in ["red green blue", "greenish", "what is red", "red", "a b c d e f g red"]:
        assert np.array_equal(small.encode([text]), tiny.encode([text]))


def test_overlong_words_are_not_remembered(tiny: StaticEncoder) -> None:
    tiny.encode(["red" * 200, "x" * 101])
    assert all(len(word) <= 100 for word in tiny._known.slots)


def test_threads_get_equal_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = load("minilm")
    monkeypatch.setattr(static, "CACHED_WORDS", 64)  # so that the memory is replaced all the time
    encoder = StaticEncoder(shipped.table_VD, shipped.scale_V, shipped.vocabulary)
    texts = [f"word {number} of the {number * 37} lists about topic{number % 50}" for number in range(200)]
    expected = shipped.encode(texts)
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(np.array_equal(encoder.encode(texts), expected))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6


def save(folder: Path, table_VD: np.ndarray = TABLE_VD, tokens: list[str] = TOKENS) -> str:
    np.save(folder / "table.npy", table_VD)
    np.save(folder / "scale.npy", SCALE_V)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (folder / "card.json").write_text(json.dumps({"id": "mine"}), encoding="utf-8")
    return str(folder)


def test_a_folder_of_ones_own_is_read(tmp_path: Path, tiny: StaticEncoder) -> None:
    read = load(save(tmp_path))
    assert read.id == "mine"
    assert np.array_equal(read.encode(["red greenish"]), tiny.encode(["red greenish"]))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="folder with table"):
        load(str(tmp_path / "none"))


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    for name, spoil in {
        "float": lambda folder: save(folder, TABLE_VD.astype(np.float32)),
        "short": lambda folder: save(folder, tokens=TOKENS[:-1]),
        "cut": lambda folder: (save(folder), (folder / "table.npy").write_bytes(b"\x93NUMPY"))[0],
        "card": lambda folder: (save(folder), (folder / "card.json").write_text("{}"))[0],
        "gone": lambda folder: (save(folder), (folder / "vocab.txt").unlink())[0],
    }.items():
        (tmp_path / name).mkdir()
        with pytest.raises(StateError, match="cannot be read"):
            load(spoil(tmp_path / name))


def test_the_shipped_encoder_keeps_to_its_size() -> None:
    folder = Path(static.__file__).parent / "minilm"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000_000
    assert json.loads((folder / "card.json").read_text(encoding="utf-8"))["licence"] == "Apache-2.0"
