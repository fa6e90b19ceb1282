"""Questions from JSONL files and from reasoning-gym."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.collect.tasks import GYM, candidates, from_gym, from_jsonl, load
from turnout.errors import ConfigError, LogError, UnknownNameError

gym = pytest.importorskip("reasoning_gym")


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_a_jsonl_file(tmp_path: Path) -> None:
    rows = [
        {"prompt": "2 + 2?", "target": 4, "grader": "numeric", "task": "sums"},
        {"prompt": "Capital of Peru?", "target": ["Lima", "lima city"], "grader": "contains"},
        {"prompt": "Say yes.", "target": "yes", "note": "other keys are the user's own"},
    ]
    sums, capital, says = from_jsonl(write(tmp_path / "mine.jsonl", *rows, ""))
    assert (sums.task, sums.target, sums.score("It is 4."), sums.score("5")) == ("sums", "4", 1.0, 0.0)
    assert (capital.task, capital.score("It is Lima!")) == ("mine", 1.0)
    assert (says.grader, says.score("Yes.")) == ("exact", 1.0)


def test_a_file_of_windows(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(
        BOM_UTF8 + b'{"prompt": "a", "target": "x"}\r\n{"prompt": "b", "target": "y"}\r\n'
    )
    assert [question.prompt for question in from_jsonl(tmp_path / "q.jsonl")] == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ([1], "must be an object"),
        ({"target": "x"}, "`prompt` must be a text, got None"),
        ({"prompt": " ", "target": "x"}, "`prompt` must be a text"),
        ({"prompt": "p"}, "`target` must be a text, a number or a list"),
        ({"prompt": "p", "target": []}, "`target` must be"),
        ({"prompt": "p", "target": True}, "`target` must be"),
        ({"prompt": "p", "target": {"a": 1}}, "`target` must be"),
        ({"prompt": "p", "target": "x", "task": 3}, "`task` and `grader` must be texts"),
        ({"prompt": "p", "target": "x", "grader": "exakt"}, "did you mean 'exact'"),
        ({"prompt": "p", "target": "x", "grader": "numeric"}, "exactly one number"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path / "q.jsonl", {"prompt": "fine", "target": "x"}, row)
    with pytest.raises(LogError, match=r"q\.jsonl:2: .*" + message):
        from_jsonl(path)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot read"):
        load([str(tmp_path / "none.jsonl")])
    with pytest.raises(LogError, match="no questions"):
        load([str(write(tmp_path / "empty.jsonl", "", " "))])


def test_gym_questions_are_the_same_for_a_seed_and_grow() -> None:
    few, many = from_gym("chain_sum", size=3, seed=5), from_gym("chain_sum", size=6, seed=5)
    assert [q.id for q in few] == [q.id for q in many[:3]]
    assert [q.id for q in few] != [q.id for q in from_gym("chain_sum", size=3, seed=6)]
    assert {q.grader for q in many} == {GYM}


@pytest.mark.parametrize("family", ["chain_sum", "letter_counting", "syllogism", "calendar_arithmetic", "word_sorting"])
def test_gym_scorers_know_right_from_wrong(family: str) -> None:
    for question in from_gym(family, size=4, seed=1):
        target = str(question.target)
        assert question.score(target) == 1.0
        assert question.score(f"Step 1 is to think.\nStep 2 is done.\n**Answer:** {target}") == 1.0
        assert question.score("") == 0.0
        assert question.score("no idea at all") < 0.5


def test_a_scorer_that_chokes_gives_zero() -> None:
    (question,) = from_gym("countdown", size=1, seed=1)
    for response in ("1/0", "(((", "a" * 5000, "Answer: ∞"):
        assert 0.0 <= question.score(response) < 0.5


def test_load_mixes_sizes_and_takes_repeats_once(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", {"prompt": "p", "target": "x"}, {"prompt": "p", "target": "x"})
    questions = load([str(path), "chain_sum:2", "gcd"], size=3, seed=0)
    assert [q.task for q in questions] == ["q", *["chain_sum"] * 2, *["gcd"] * 3]
    assert len({q.id for q in questions}) == len(questions)


def test_a_part_of_a_file_is_drawn_by_seed(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", *({"prompt": f"p{i}", "target": "x"} for i in range(30)))
    first, again, other = (load([f"{path}:10"], seed=seed) for seed in (1, 1, 2))
    assert len(first) == 10
    assert [q.id for q in first] == [q.id for q in again]
    assert {q.id for q in first} != {q.id for q in other}
    assert len(load([f"{path}:99"])) == 30


def test_bad_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'chain_sum'"):
        load(["chain_sums"])
    for name in ("gcd:0", "gcd:many", "gcd:-1"):
        with pytest.raises(ConfigError, match="size after"):
            load([name])


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_candidates_are_few_and_stripped(text: str) -> None:
    found = candidates(text)
    assert len(found) <= 3
    assert all(one == one.strip() for one in found)
