from __future__ import annotations

import pytest

from turnout.signals.readability import Readability, _syllables


def test_flesch_by_hand() -> None:
    """Six words of one syllable in one sentence: 206.835 − 1.015·6 − 84.6 = 116.145."""
    assert float(Readability().transform(["The cat sat on the mat."])[0, 0]) == pytest.approx(
        (100 - 116.145) / 100, abs=1e-5
    )


@pytest.mark.parametrize(
    ("word", "count"), [("cat", 1), ("table", 2), ("make", 1), ("the", 1), ("readable", 3), ("rhythm", 1)]
)
def test_syllables(word: str, count: int) -> None:
    assert _syllables(word) == count


def test_texts_without_words_are_in_the_middle_of_nowhere() -> None:
    assert Readability().transform(["", "42", "!?"]).tolist() == [[0.0], [0.0], [0.0]]
