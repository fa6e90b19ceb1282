"""Which lines many texts share, and what is left without them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from turnout.stats import near_duplicates
from turnout.stats.boilerplate import shared_lines, without

LETTERS = np.random.default_rng(1).choice(list("abcdefghijklmnopqrstuvwxyz "), (40, 50))
PROMPT = "\n".join("".join(line) for line in LETTERS)


def questions(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    words = "river stone apple cloud lamp horse green seven paper winter copper music".split()  # noqa: SIM905
    return [" ".join(rng.choice(words, 8)) for _ in range(count)]


def test_a_line_counts_once_for_each_different_text() -> None:
    texts = ["same\nsame\none", "same\ntwo", " same \r\nthree", "same\ntwo"]
    assert len(shared_lines(texts, common=1.0, fewest=3)) == 1
    assert not len(shared_lines(texts, common=1.0, fewest=4))
    assert not len(shared_lines(["one", "one", "", "\n\n"], common=0.0, fewest=1))


@given(st.lists(st.text(alphabet="ab \n\r\ud800é", max_size=8), max_size=8))
def test_what_is_left_are_lines_of_few_in_their_order(texts: list[str]) -> None:
    shared = set(shared_lines(texts, common=0.0, fewest=2).tolist())
    for text in texts:
        left = without(text, shared)
        assert left == text or set(left.splitlines()) <= set(text.splitlines())


def test_a_system_prompt_does_not_make_near_duplicates() -> None:
    asked = questions(60)
    texts = [f"{PROMPT}\n{question}" for question in asked]
    assert near_duplicates(texts).tolist() == near_duplicates(asked).tolist()
    assert near_duplicates([*texts, f"{PROMPT}\n{asked[7]}!"])[-1] == 7


def test_a_prompt_of_few_texts_and_one_beside_long_questions_still_count() -> None:
    few = [f"{PROMPT}\n{question}" for question in questions(19)]
    assert set(near_duplicates(few).tolist()) == {0}
    long = [f"{PROMPT[:200]}\n{question}" for question in questions(60)]
    assert near_duplicates(long).tolist() == near_duplicates([text.replace("\n", " ") for text in long]).tolist()
