"""Changes that keep a request's meaning."""

from __future__ import annotations

import random

import pytest

from turnout.evaluation.perturbations import PERTURBATIONS, perturb

TEXT = "What is the capital of Peru?\nA. Lima\nB. Quito\nC. Cuzco"
ENDED = f"{TEXT}."


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_change_changes_and_repeats_itself(name: str) -> None:
    first = perturb(name, [ENDED, "How many 7s?"], seed=3)
    assert first == perturb(name, [ENDED, "How many 7s?"], seed=3)
    assert first[0] is not None
    assert first[0] != ENDED


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_letters_of_the_request_stay(name: str) -> None:
    (made,) = perturb(name, [ENDED], seed=0)
    assert made is not None
    kept = {word.strip(".?,!").lower() for word in made.split()}
    words = {word.strip(".?,!").lower() for word in ENDED.split()}
    assert len(words & kept) >= (0.6 if name == "typos" else 1.0) * len(words)


def test_options_move_and_their_labels_stay() -> None:
    (made,) = perturb("option order", [TEXT], seed=1)
    assert made is not None
    assert sorted(made.splitlines()[1:], key=lambda line: line[3:]) != made.splitlines()[1:]
    assert [line[:2] for line in made.splitlines()[1:]] == ["A.", "B.", "C."]
    assert sorted(line[3:] for line in made.splitlines()[1:]) == ["Cuzco", "Lima", "Quito"]


def test_what_does_not_apply_is_left_out() -> None:
    assert perturb("option order", ["No options here", "A. one alone"], seed=0) == [None, None]
    assert perturb("lower case", ["all low"], seed=0) == [None]
    assert PERTURBATIONS["typos"]("123 456", random.Random(0)) is None
