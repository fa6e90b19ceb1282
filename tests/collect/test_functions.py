"""Graders that are functions in the user's own file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turnout.collect.functions import read_functions
from turnout.collect.tasks import load
from turnout.errors import ConfigError, LogError

CHECKS = """
import numpy as np

LIMIT = 3

def brevity(response, target):
    return max(0.0, 1.0 - abs(len(response.split()) - int(target)) / LIMIT)

def wild(response, target):
    return 7

def scalar(response, target):
    return np.float32(0.5) if target == "half" else np.bool_(True)
"""


@pytest.fixture
def checks(tmp_path: Path) -> Path:
    path = tmp_path / "checks.py"
    path.write_text(CHECKS, encoding="utf-8")
    return path


def test_rows_name_the_function(checks: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "In three words?", "target": 3, "grader": "brevity"}, {"prompt": "2 + 2?", "target": "4"}]
    tasks = tmp_path / "mine.jsonl"
    tasks.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    brief, sums = load([str(tasks)], functions=read_functions([f"{checks}:brevity"]))
    assert (brief.score("one two three"), brief.score("one two"), brief.score("a b c d e f")) == (
        1.0,
        pytest.approx(2 / 3),
        0.0,
    )
    assert (sums.score("4"), sums.score("5")) == (1.0, 0.0)


def test_a_score_outside_the_unit_interval_is_refused(checks: Path) -> None:
    with pytest.raises(LogError, match=r"wild.*\[0, 1\], got 7"):
        read_functions([f"{checks}:wild"])["wild"]("a", "b")


def test_numbers_of_numpy_are_scores(checks: Path) -> None:
    scalar = read_functions([f"{checks}:scalar"])["scalar"]
    assert (scalar("a", "half"), scalar("a", "b")) == (0.5, 1.0)


def test_what_cannot_be_a_grader_is_named(checks: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "other.py"
    renamed.write_text("def exact(response, target):\n    return 1\n", encoding="utf-8")
    for named, message in [
        ("checks.py", "FILE.py:FUNCTION"),
        (f"{tmp_path / 'absent.py'}:f", "no Python file"),
        (f"{checks}:brief", "it has brevity, wild, scalar"),
        (f"{checks}:LIMIT", "has no function 'LIMIT'"),
        (f"{renamed}:exact", "already"),
    ]:
        with pytest.raises(ConfigError, match=message):
            read_functions([named])


def test_a_file_of_questions_cannot_name_code_by_itself(checks: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "mine.jsonl"
    tasks.write_text(json.dumps({"prompt": "?", "target": "1", "grader": f"{checks}:brevity"}), encoding="utf-8")
    with pytest.raises(LogError, match="grader"):
        load([str(tasks)])
