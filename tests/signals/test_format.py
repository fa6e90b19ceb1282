from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.signals.format import _BYTES, _SOUGHT, COLUMNS, Format


def seen(text: str) -> dict[str, float]:
    return dict(zip(COLUMNS, Format().transform([text])[0].tolist(), strict=True))


def test_every_column_has_its_own_name() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS) == Format().transform(["x"]).shape[1]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("digits", "add 12345 and 67890"),
        ("numbers", "3 apples and 12 pears"),
        ("capitals", "NASA AND ESA"),
        ("choices", "Pick one\n(A) red\n(B) green"),
        ("ends_question", "Is it?  "),
        ("ends_colon", "The answer is:\n"),
        ("opens_lower", "who is it"),
        ("brackets", "f(x)[0]"),
        ("operators", "1 + 2 = 3"),
        ("underscores", "a_b_c"),
        ("backslashes", "\\alpha"),
        ("not_ascii", "Grüße"),
        ("lines", "a\nb\nc"),
        ("blank_lines", "a\n\nb"),
        ("questions", "a? b? c"),
        ("bullets", "Items:\n- a\n- b"),
        ("latex", "\\frac{1}{2}"),
        ("tags", "<b>x</b>"),
        ("shots", "Q: x\nA: y"),
        ("code_fence", "```\nx\n```"),
        ("code", "def f(x): pass"),
        ("json", "Return JSON"),
        ("steps", "Think step by step."),
        ("write", "Write a poem"),
        ("explain", "Explain gravity."),
        ("solve", "Solve x"),
        ("translate", "Translate this"),
        ("program", "a python list"),
        ("amount", "How many are there"),
        ("measure", "5 km"),
        ("truth", "True or false"),
        ("consent", "yes or no"),
        ("choose", "the following option"),
        ("suppose", "Let x be 1"),
        ("person", "I like it"),
        ("past", "it was there"),
        ("starts_what", "What is it"),
        ("starts_how", "how is it"),
    ],
)
def test_a_column_answers_to_what_it_names(column: str, text: str) -> None:
    assert seen(text)[column] > seen("Name some towns.")[column]


def test_a_lone_letter_with_a_stop_is_no_list_of_choices() -> None:
    assert seen("I spoke with J. Smith")["choices"] == 0.0


def test_shares_are_bounded_for_texts_of_one_character() -> None:
    assert seen("_" * 500)["underscores"] == 3.0


def test_length_is_that_of_the_whole_text() -> None:
    assert seen("a b " * 10_000)["characters"] > seen("a b " * 1_000)["characters"]


def test_a_mark_without_any_of_its_keys_cannot_occur() -> None:
    assert all(keys & set(mark.encode()) for keys, marks in _SOUGHT for mark in marks)


def test_a_byte_is_of_one_class() -> None:
    members = b"".join(listed for listed, _ in _BYTES.values())
    assert len(set(members)) == len(members)


@settings(deadline=None)
@given(text=st.text(max_size=60) | st.text(alphabet="aB1 .,\n\u212a\ud800é", max_size=60))
def test_shares_and_counts_are_what_their_definitions_say(text: str) -> None:
    found, raw = seen(text), text.encode("utf-8", "surrogatepass")
    for name, (listed, factor) in _BYTES.items():
        share = sum(byte in listed for byte in raw) / max(len(raw), 1)
        assert found[name] == pytest.approx(min(share * factor, 3.0), abs=1e-6), name
    words = re.findall("[a-z]+", text.lower())
    length = sum(map(len, words)) / len(words) if words else 4.0
    assert found["word_length"] == pytest.approx((length - 4.0) / 4.0, abs=1e-6)
    assert found["numbers"] == pytest.approx(math.log1p(len(re.findall("[0-9]+", text))) / 2.0, abs=1e-6)
