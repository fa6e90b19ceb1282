from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.modes import (
    agreement,
    certainty,
    consistency,
    final_answer,
    harmonic,
    hindsight,
    sigma,
    stable,
    verdict,
    vote,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: 12", "12"),
        ("Step 1: 3\nStep 2: 4\nAnswer: 7 apples", "7"),
        ("#### 1,234", "1234"),
        ("It is 3.50 dollars.", "3.5"),
        ("The answer is: (C)", "C"),
        ("(b)", "B"),
        ("Answer: knob, sharing, exclaim", "knobsharingexclaim"),
        ("Answer: True.", "true"),
        ("so -8557", "-8557"),
        ("", ""),
        ("  \n ", ""),
        ("Answer: 12\nI hope that helps", "12"),
        ("so f(x) = 12", "12"),
        ("Answer: -0.00", "0"),
        ("Answer: 0.0000001", "0.0000001"),
        ("Answer: 1" + "0" * 400, "1" + "0" * 400),
    ],
)
def test_final_answers(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@given(st.text(max_size=200))
def test_any_text_has_an_answer_or_none(text: str) -> None:
    assert final_answer(text) == final_answer(text)
    assert "\n" not in final_answer(text)


answers = st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=6)


@given(answers)
def test_agreement_and_sigma_say_the_same_at_their_ends(given_: list[str]) -> None:
    assert 0 <= agreement(given_) <= 1
    assert 0 <= sigma(given_) <= 1
    assert (agreement(given_) == 1) == (sigma(given_) == 0 and given_[0] != "") or len(given_) == 1
    winner = vote(given_)
    assert winner in given_ or winner == ""
    assert given_.count(winner) / len(given_) == agreement(given_) or winner == ""


def test_certainty_of_a_verdict_follows_the_two_likeliest_tokens() -> None:
    words = {"true": ["true", "yes"], "false": ["false", "no"]}
    assert verdict({"Yes": 0.5, "true": 0.3, "no": 0.2}, **words) == 1.0
    assert verdict({"Yes": 0.5, "no": 0.3, "True": 0.1}, **words) == pytest.approx(0.3)
    assert verdict({"well": 0.9, "no": 0.1}, **words) == pytest.approx(0.1)
    assert verdict({}, **words) == 0.0


def test_numbers() -> None:
    assert certainty(np.array([0.0, -1.0, np.nan])).tolist()[:2] == pytest.approx([1.0, np.exp(-1)])
    assert np.isnan(certainty(float("nan")))
    assert consistency(np.zeros((1, 1))) == 1.0
    assert consistency(np.array([[0, 1.0], [1.0, 0]])) == 0.0
    assert harmonic(np.array([0.0, 1.0]), np.array([1.0, 1.0])).tolist() == [0.0, 1.0]
    assert hindsight(np.array([[0.4, 0.5]]), np.array([[1.0, 2.0]]), enough=0.2).tolist() == [0]
    assert stable(["1", "2", "2", "2"], times=3)
    assert not stable(["2", "2"], times=3)
