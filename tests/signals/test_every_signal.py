"""Properties of every registered signal, on any Unicode text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout import registry, state
from turnout.features import Sparse
from turnout.signals import Signal
from turnout.testing import encoders

TEXTS = [
    "How do I sort a list of numbers in Python?",
    "What is 2 + 2?\nA. 3\nB. 4\nC. 5",
    "Write a function `f(x)` that returns x**2.\n```python\ndef f(x): ...\n```",
    "Wer hat das Gemälde an dieser Decke gemalt, und wann?",
    "如何对列表进行排序？",
    "How many apples does Ann have if she buys 3 bags of 12 apples each?",
    "Who painted the ceiling, and how many years did it take?",
    "",
]
# Surrogates too: JSON bodies may hold them alone.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=120)
NAMES = registry.names("signal")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signal]:
    weights = encoders.write(tmp_path_factory.mktemp("encoder") / "tiny.safetensors", encoders.tensors())
    params: dict[str, dict[str, Any]] = {"tfidf": {"min_df": 1}, "sentence": {"encoder": str(weights)}}
    return {name: registry.create("signal", name, **params.get(name, {})).fit(TEXTS) for name in NAMES}


def dense(signal: Signal, texts: list[str]) -> np.ndarray[Any, Any]:
    features = signal.transform(texts)
    return features.toarray() if isinstance(features, Sparse) else np.asarray(features)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(text=ANY_TEXT)
def test_any_text_gives_finite_rows_of_one_width(fitted: dict[str, Signal], name: str, text: str) -> None:
    width = dense(fitted[name], TEXTS).shape[1]
    row = dense(fitted[name], [text])
    assert row.shape == (1, width)
    assert row.dtype == np.float32
    assert np.isfinite(row).all()
    most = len(text) if name == "tokens" else 10.0  # counts grow with the text
    assert np.abs(row).max(initial=0.0) <= most


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=30)
@given(texts=st.lists(ANY_TEXT, max_size=5))
def test_a_batch_equals_its_rows_one_by_one(fitted: dict[str, Signal], name: str, texts: list[str]) -> None:
    whole = dense(fitted[name], [*TEXTS, *texts])
    single = np.concatenate([dense(fitted[name], [text]) for text in [*TEXTS, *texts]])
    assert np.array_equal(whole, single)


@pytest.mark.parametrize("name", NAMES)
def test_equal_texts_give_equal_bits_whatever_came_between(fitted: dict[str, Signal], name: str) -> None:
    before = dense(fitted[name], TEXTS)
    fitted[name].transform([f"other words {number} {number * 7919}" for number in range(300)])
    assert np.array_equal(before, dense(fitted[name], TEXTS))


@pytest.mark.parametrize("name", NAMES)
def test_no_texts_give_no_rows(fitted: dict[str, Signal], name: str) -> None:
    assert dense(fitted[name], []).shape == (0, dense(fitted[name], TEXTS).shape[1])


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_told_apart(fitted: dict[str, Signal], name: str) -> None:
    rows = dense(fitted[name], TEXTS[:2] + TEXTS[4:5])
    assert len(np.unique(rows, axis=0)) == 3 if name != "language" else len(np.unique(rows, axis=0)) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_the_middle_of_a_long_text_is_not_read(fitted: dict[str, Signal], name: str) -> None:
    start, end = "How do I sort " * 100, " in Python?" * 100
    one, other = start + "zebra 12 " * 300 + end, start + "?äß(x) {}" * 300 + end
    assert np.array_equal(dense(fitted[name], [one]), dense(fitted[name], [other]))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_signal_gives_equal_bits(fitted: dict[str, Signal], name: str) -> None:
    arrays: state.Arrays = {}
    document = json.loads(json.dumps(state.pack(fitted[name], arrays)))
    again = state.unpack(document, {key: value.copy() for key, value in arrays.items()})
    assert np.array_equal(dense(again, TEXTS), dense(fitted[name], TEXTS))


@pytest.mark.parametrize("name", NAMES)
def test_constructing_and_cloning_reads_no_state(fitted: dict[str, Signal], name: str) -> None:
    assert fitted[name].clone().learned() == {}
