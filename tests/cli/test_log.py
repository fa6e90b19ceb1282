from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turnout.outcomes import OutcomeLog


@pytest.fixture
def log(tmp_path: Path) -> Path:
    texts = [f"Question [{n}] about {n * 7919}?" for n in range(20)] + ["Question [0]  about 0?"]
    scores_NE = np.stack([np.arange(21) % 2, np.arange(21) % 3 == 0], axis=1)
    cost_NE = np.full((21, 2), 0.25)
    made = OutcomeLog.from_arrays(texts, ["[small]", "large"], scores_NE, cost_NE=cost_NE, propensity_NE=cost_NE)
    made.write(tmp_path / "log")
    return tmp_path / "log"


def test_describe_shows_every_figure(log: Path, command: Any) -> None:
    shown = command.run("log", "describe", log, "--against", log)
    for part in (
        "21 queries × 2 experts",
        "[small]",
        "100.0%",
        "0.250",
        "2 queries in 1 group",
        "oracle",
        "propensity",
    ):
        assert part in shown
    assert "21 exact" in shown


def test_describe_as_json_is_one_document(log: Path, command: Any) -> None:
    result = json.loads(command.run("log", "describe", log, "--json"))
    assert result["queries"] == 21
    assert result["duplicates"]["largest"] == 2
    assert "leaks" not in result
    result = json.loads(command.run("log", "describe", log, "--json", "--against", log))
    assert result["leaks"]["exact"] == 21


def test_convert_and_back(log: Path, tmp_path: Path, command: Any) -> None:
    for name in ("a.csv", "b.jsonl", "c.parquet", "d"):
        result = json.loads(command.run("log", "convert", log, tmp_path / name, "--json"))
        assert result["outcomes"] == 42
        assert OutcomeLog.read(tmp_path / name).fingerprint() == OutcomeLog.read(log).fingerprint()
    code, said = command.fail("log", "convert", log, tmp_path / "a.csv")
    assert code == 2
    assert "exists already; pass --force" in said
    assert "21 queries" in command.run("log", "convert", log, tmp_path / "a.csv", "--force")


def test_split(log: Path, tmp_path: Path, command: Any) -> None:
    first, rest = tmp_path / "first", tmp_path / "rest.csv"
    result = json.loads(command.run("log", "split", log, first, rest, "--fraction", "0.5", "--seed", "3", "--json"))
    assert result["parts"] == {str(first): len(OutcomeLog.read(first)), str(rest): len(OutcomeLog.read(rest))}
    assert sum(result["parts"].values()) == 21
    assert "0 exact and 0 near" in command.run("log", "describe", rest, "--against", first)


def test_mistakes_are_named(log: Path, tmp_path: Path, command: Any) -> None:
    assert command.fail("log", "describe", tmp_path / "none") == (
        1,
        f"error: {tmp_path / 'none'}: no such file or folder\n",
    )
    code, said = command.fail("log", "split", log, tmp_path / "a", tmp_path / "b", "--fraction", "1")
    assert (code, "must be in (0, 1), got 1.0" in said) == (2, True)
    code, said = command.fail("log", "split", log, tmp_path / "a", tmp_path / "a")
    assert (code, "two places" in said) == (2, True)
    code, said = command.fail("log", "split", log, tmp_path / "a", log)
    assert (code, "exists already" in said) == (2, True)
    assert not (tmp_path / "a").exists()
