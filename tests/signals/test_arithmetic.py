"""Columns that count what a word problem is made of."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.signals.arithmetic import _COUNTED, COLUMNS, Arithmetic


def columns(text: str) -> dict[str, float]:
    return dict(zip(COLUMNS, Arithmetic().transform([text])[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("column", "few", "many"),
    [
        ("sentences", "Ann has 3 pens.", "Ann has 3 pens. Bob has 4. How many are there?"),
        ("numbers", "Ann has three pens", "Ann has 3 pens, 12 books and 4 cups"),
        ("distinct_numbers", "3 pens, 3 books, 3 cups", "3 pens, 4 books, 5 cups"),
        ("largest", "It costs 12", "It costs 1,250.50"),
        ("decimals", "1 and 2", "1.5 and 2.25"),
        ("fractions", "a half of it", "1/2 of it"),
        ("names", "The boy met a girl.", "Then Ann met Bob."),
        ("asked_words", "Ann has 3 pens. How many?", "Ann has 3 pens. How many pens will she have in two years?"),
        ("multiply", "Ann has more", "Ann has twice as many each day"),
        ("turns", "Ann has pens.", "If Ann had pens before she left, then how many?"),
    ],
)
def test_a_column_rises_with_what_it_counts(column: str, few: str, many: str) -> None:
    assert columns(few)[column] < columns(many)[column]


def test_separators_belong_to_a_number() -> None:
    assert columns("1,250")["numbers"] == columns("7")["numbers"]
    assert columns("1,250")["largest"] == pytest.approx(columns("1250")["largest"])


def test_a_long_row_of_digits_is_no_quantity() -> None:
    assert columns("9" * 400)["largest"] == columns("no number")["largest"]
    assert np.isfinite(Arithmetic().transform(["9" * 400])).all()


PIECES = st.sampled_from(
    ("Ann", "iPhone", "McDonald", "A", "met", "3.", "1,250.50", "Kelvin: \u212a", "\u0130", "\n", "?!", ".")
)


@settings(deadline=None)
@given(text=st.lists(PIECES).map(" ".join) | st.text(alphabet="aBcD 1.?!,\n", max_size=60) | st.text(max_size=40))
def test_sentences_names_and_words_are_what_their_definitions_say(text: str) -> None:
    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence]
    asked = sentences[-1] if sentences else ""
    inner = [word for sentence in sentences for word in re.findall("[A-Za-z]+", sentence)[1:]]
    wanted = {
        "words": len(re.findall("[a-z]+", text.lower())),
        "sentences": len(sentences),
        "names": len({word for word in inner if len(word) > 1 and word[0].isupper()}),
        "asked_words": len(re.findall("[A-Za-z]+", asked)),
    }
    found = columns(text)
    for name, count in wanted.items():
        middle, spread = _COUNTED[name]
        assert found[name] == pytest.approx(max(-5.0, min(8.0, (math.log1p(count) - middle) / spread)), abs=1e-5), name
