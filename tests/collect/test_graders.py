"""Graders on the answers that models really give."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout import registry
from turnout.collect.graders.base import Grader, bare, final_answer
from turnout.collect.graders.choice import chosen
from turnout.collect.graders.numeric import numbers
from turnout.errors import ParameterError, UnknownNameError

CASES = [
    # grader, response, target, score
    ("exact", "Paris", "paris", 1),
    ("exact", "Rome? No.</think>\n\nParis", "Paris", 1),
    ("numeric", "7" + " " * 200_000 + "apples", "7", 1),
    ("exact", "  Paris.\n", "Paris", 1),
    ("exact", "**Answer:** Paris", "Paris", 1),
    ("exact", "**Answer: Paris**", "Paris", 1),
    ("exact", "Answer: **Paris**.", "Paris", 1),
    ("exact", "Answer: Rome\nNo, wait.\nAnswer: Paris", "Paris", 1),
    ("exact", "Answer: Paris\nAnswer: Rome", "Paris", 0),
    ("exact", "Answer:\nParis", "Paris", 1),
    ("exact", "The final answer is: `Paris`", "Paris", 1),
    ("exact", 'Answer: "Paris"', "Paris", 1),
    ("exact", "I think it is Paris", "Paris", 0),
    ("exact", "Answer: Paris, France", "Paris", 0),
    ("exact", "Answer: yes", ("no", "yes"), 1),
    ("exact", r"\boxed{Paris}", "Paris", 1),
    ("exact", "```\nParis\n```", "Paris", 1),
    ("exact", "Answer:\n```python\nx = 1\ny = 2\n```", "x = 1\ny = 2", 1),
    ("exact", "don’t", "don't", 1),
    ("exact", "<think>Rome? Answer: Rome</think>Paris", "Paris", 1),
    ("exact", "<think>Paris, surely", "Paris", 0),
    ("exact", "", "Paris", 0),
    ("exact", None, "Paris", 0),
    ("exact", "Answer:", "Paris", 0),
    ("numeric", "42", "42", 1),
    ("numeric", "The answer is 42 apples.", "42", 1),
    ("numeric", "5 + 37 = 42", "42", 1),
    ("numeric", "Answer: 5 + 37 = 42", "42", 1),
    ("numeric", "Answer: 42 (of 50)", "42", 1),
    ("numeric", "First 7, then 42", "42", 1),
    ("numeric", "First 42, then 7", "42", 0),
    ("numeric", "$1,234.50", "1234.5", 1),
    ("numeric", "-$5", "-5", 1),
    ("numeric", "- 5 apples", "5", 1),
    ("numeric", "−5", "-5", 1),
    ("numeric", "10-5", "5", 1),
    ("numeric", "8 -3", "3", 1),
    ("numeric", "Answer: 1/3", "0.3333333333", 1),
    ("numeric", r"Answer: \boxed{\frac{1}{2}}", "0.5", 1),
    ("numeric", "1e3", "1000", 1),
    ("numeric", "42.0", "42", 1),
    ("numeric", "42.1", "42", 0),
    ("numeric", "142", "42", 0),
    ("numeric", "Answer: forty-two, that is 42", "42", 1),
    ("numeric", "The total is 42.\nAnswer: as above", "42", 1),
    ("numeric", "no number", "42", 0),
    ("numeric", "1/0", "42", 0),
    ("numeric", "**42**", "42", 1),
    ("numeric", "x2 is 42", "42", 1),
    ("numeric", r"\boxed{-\frac{1}{2}}", "-0.5", 1),
    ("numeric", r"\boxed{-\frac{1}{2}}", "0.5", 0),
    ("numeric", r"so it is 3 - \frac{1}{2} = 2.5", "2.5", 1),
    ("numeric", r"\boxed{1{,}234}", "1234", 1),
    ("choice", "B", "B", 1),
    ("choice", "(b)", "(B)", 1),
    ("choice", "B.", "B", 1),
    ("choice", "**B**", "B", 1),
    ("choice", "B) Paris", "B", 1),
    ("choice", "The answer is (B).", "B", 1),
    ("choice", "The correct answer is B", "B", 1),
    ("choice", "It cannot be (A), so the answer is (B)", "B", 1),
    ("choice", "A car is red. Option C.", "C", 1),
    ("choice", "I would take C", "C", 1),
    ("choice", "A good question. I do not know", "A", 0),
    ("choice", "Answer: A", "A", 1),
    ("choice", "Answer: A, Paris", "A", 1),
    ("choice", "Answer: A - Paris", "A", 1),
    ("choice", "Answer: A (Paris)", "A", 1),
    ("choice", "The answer is A, because it is large", "A", 1),
    ("choice", "Answer: B because A is wrong", "B", 1),
    ("choice", "A\n\nBecause a dog is an animal", "A", 1),
    ("choice", "A is the correct answer", "A", 1),
    ("choice", "I'd go with A.", "A", 1),
    ("choice", "It must be B, not A", "B", 1),
    ("choice", "A, B and D are wrong, so C", "C", 1),
    ("choice", "A and B are wrong, so C", "C", 1),
    ("choice", "A is wrong, so C", "C", 1),
    ("choice", "A dog, or a cat", "A", 0),
    ("choice", "Paris", "B", 0),
    ("choice", "(A) or (B)", "A", 0),
    ("contains", "It is Paris!", "paris", 1),
    ("contains", "It is\n  New   York.", "New York", 1),
    ("contains", "Parisian", "Paris", 0),
    ("contains", "it is 42.5", "42", 0),
    ("contains", "it is 42.", "42", 1),
    ("contains", "x == y", "==", 1),
    ("contains", "C++ is fast", "C++", 1),
    ("contains", "a dog", ("cat", "dog"), 1),
    ("regex", "def f():\n    return 1", r"^\s+return 1$", 1),
    ("regex", "RETURN", r"return", 0),
]


@pytest.mark.parametrize(("name", "response", "target", "score"), CASES)
def test_grades(name: str, response: str | None, target: str | tuple[str, ...], score: float) -> None:
    grader: Grader = registry.create("grader", name)
    grader.check_target(target)
    assert grader.grade(response, target) == score


ALONE = [name for name in registry.names("grader") if not registry.get("grader", name).asks]


@pytest.mark.parametrize("name", ALONE)
@settings(max_examples=60, deadline=None)
@given(response=st.text(max_size=200), target=st.sampled_from(["B", "7", "A"]))
def test_any_text_gets_a_score(name: str, response: str, target: str) -> None:
    grader: Grader = registry.create("grader", name)
    assert grader.grade(response, "7" if name == "numeric" else target) in (0.0, 1.0)


@pytest.mark.parametrize("name", ALONE)
def test_the_target_itself_is_right_and_nothing_is_not(name: str) -> None:
    grader: Grader = registry.create("grader", name)
    target = {"numeric": "12.5", "choice": "C"}.get(name, "word")
    assert grader.grade(target, target) == 1.0
    assert grader.grade(f"Let me see.\nAnswer: {target}", target) == 1.0
    assert grader.grade(" \n", target) == 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(-(10**9), 10**9))
def test_numbers_are_read_with_and_without_thousands(value: int) -> None:
    assert numbers(f"{value:,}") == numbers(str(value)) == [float(value)]


@pytest.mark.parametrize(
    ("name", "target"),
    [("numeric", "many"), ("numeric", "1 2"), ("choice", "AB"), ("regex", "("), ("exact", " "), ("contains", ())],
)
def test_an_unusable_target_is_refused(name: str, target: str | tuple[str, ...]) -> None:
    with pytest.raises(ParameterError, match=f"grader {name}: `target`"):
        registry.create("grader", name).check_target(target)


def test_unknown_grader_and_bad_parameter() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'numeric'"):
        registry.create("grader", "numerik")
    with pytest.raises(ParameterError, match="tolerance"):
        registry.create("grader", "numeric", tolerance=2)


def test_tolerance() -> None:
    assert registry.create("grader", "numeric", tolerance=0.01).grade("100.5", "100") == 1.0


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_stripping_decoration_ends_and_is_stable(text: str) -> None:
    assert bare(bare(text)) == bare(text)
    final_answer(text)


def test_choice_is_none_without_a_letter() -> None:
    assert chosen("nothing to see") is None


def test_the_page_names_every_grader() -> None:
    page = (Path(__file__).parents[2] / "docs" / "collect.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in registry.names("grader"))
