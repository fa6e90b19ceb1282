"""Outcomes for stored traces from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turnout.collect.regrade import Outcome, outcomes, read_rules
from turnout.errors import LogError
from turnout.types import Trace


def rules_file(path: Path, *rows: object) -> Path:
    file = path / "rules.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def test_scores_and_targets_by_trace_and_by_prompt(tmp_path: Path) -> None:
    rules = read_rules(
        rules_file(
            tmp_path,
            {"trace": "a", "score": 0.5, "label": "meh"},
            {"trace": "b", "target": "4", "grader": "numeric"},
            {"prompt": "2 + 2? ", "target": "4"},
        ),
        grader="contains",
    )
    traces = [
        Trace("a", 0.0, "auto"),
        Trace("b", 0.0, "auto", prompt="2 + 2?", response="It is 5"),
        Trace("c", 0.0, "auto", prompt="2 + 2?", response="It is 4"),
        Trace("d", 0.0, "auto", prompt="2 + 2?"),
        Trace("e", 0.0, "auto", prompt="3 + 3?", response="6"),
    ]
    found = {trace.id: outcome for trace, outcome in outcomes(rules, traces)}
    assert found == {
        "a": Outcome("a", 0.5, "meh"),
        "b": Outcome("b", 0.0, "grader:numeric"),
        "c": Outcome("c", 1.0, "grader:contains"),
        "d": None,
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"score": 1}, "needs `trace`"),
        ({"trace": 5, "score": 1}, "`trace` must be a text"),
        ({"trace": "a", "score": 2}, r"in \[0, 1\], got 2"),
        ({"trace": "a", "score": "1"}, "must be a number"),
        ({"trace": "a"}, "`target` must be"),
        ({"trace": "a", "target": "x", "grader": "nope"}, "unknown grader"),
        ({"trace": "a", "target": "x", "grader": "numeric"}, "exactly one number"),
        ([], "must be an object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(LogError, match=r"rules\.jsonl:1: .*" + message):
        read_rules(rules_file(tmp_path, row))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cannot read"):
        read_rules(tmp_path / "none.jsonl")
