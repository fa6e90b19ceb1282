from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from turnout.errors import ParameterError, StateError
from turnout.signals.embedding import Embedding


def test_rows_have_unit_length_and_an_empty_text_is_zero() -> None:
    rows = Embedding().transform(["What is the capital of France?", "x", "", " \n"])
    assert rows.shape == (4, 256)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("How do I sort a list in Python?", "python code that orders an array", "a recipe for apple pie"),
        ("What is the capital of France?", "Paris is a city in Europe", "Solve x^2 - 5x + 6 = 0"),
        ("my stomach hurts", "I feel ill and need a doctor", "the stock market fell today"),
        ("book a flight to Boston", "I need plane tickets", "how tall is a giraffe"),
    ],
)
def test_texts_that_mean_alike_are_nearer(text: str, near: str, far: str) -> None:
    rows = Embedding().transform([text, near, far])
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.1


def test_the_identity_of_the_table_is_learned_and_checked() -> None:
    made = Embedding().fit(["x"])
    made.table_ = "another"
    with pytest.raises(StateError, match="fitted on the encoder table another"):
        made.transform(["x"])


def test_an_unknown_encoder_is_refused_by_name() -> None:
    with pytest.raises(ParameterError, match="minilm"):
        Embedding(encoder="no-such-table").transform(["x"])


def test_neither_import_nor_constructor_reads_the_table_or_tokenizers() -> None:
    code = (
        "import sys; from turnout.signals.embedding import Embedding; made = Embedding()\n"
        "from turnout.signals.encoders.static import load; assert not load.cache_info().currsize\n"
        "made.transform(['plain text, 12']); assert 'tokenizers' not in sys.modules\n"
        "made.transform(['caf\\u00e9']); assert 'tokenizers' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_long_text_is_slow_until_its_words_are_remembered() -> None:
    signal = Embedding()
    text = " ".join(f"quixotry{n}zest" for n in range(120))
    assert signal.is_slow(text)
    signal.transform([text])
    assert not signal.is_slow(text)
    assert not signal.is_slow(text + " one unseen wordling")
    assert not signal.is_slow("short")
    assert signal.is_slow("z" * 99 + " " + "word " * 300)  # splitting takes time in the square of a word's length
