"""`turnout traces` as a user sees it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from turnout.cli import build, main
from turnout.outcomes import OutcomeLog
from turnout.store.traces import TraceStore, trace_file
from turnout.types import CallRecord, Decision, Plan, Trace, Usage

RUN = CliRunner()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


@pytest.fixture
def filled(home: Path) -> Path:
    with TraceStore(trace_file(home), keep="prompts") as store:
        for i in range(5):
            store.put(make(f"tr_{i}", "small" if i % 2 else "large", time.time() - 100_000 * (4 - i)))
        store.feedback("tr_0", 0.5, "fine")
    return home


def make(name: str, expert: str, moment: float) -> Trace:
    decision = Decision(
        Plan("small", ("large",)),
        "routed",
        ("small", "large", "[odd]"),
        (True, True, False),
        (0.75, 0.5, 0.125),
        (0.01, 0.02, 0.03),
        (1e-6, 2e-6, 3e-6),
        (0.7, 0.4, 0.1),
        signals={"embedding": np.ones(128, np.float32)},
        refusals={"[odd]": "no tools"},
    )
    calls = [CallRecord("small", 500, None, 0.1, "ExpertError: [bold] broken"), CallRecord("large", 200, 0.1, 0.2)]
    return Trace(
        name, moment, "turnout/auto", decision, calls, expert, 200, Usage(10, 20), 1e-6, 0.3, 0.1,
        versions={"turnout": "0.1.0"}, prompt=f"what is {name}?", response="Answer: 4",
    )  # fmt: skip


def run(*arguments: str) -> str:
    result = RUN.invoke(build(), ["traces", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list(filled: Path) -> None:
    shown = run("list", "-n", "3")
    assert [name for name in ("tr_0", "tr_1", "tr_2", "tr_3", "tr_4") if name in shown] == ["tr_2", "tr_3", "tr_4"]
    document = json.loads(run("list", "--expert", "large", "--json"))
    assert document["total"] == 5
    assert [trace["id"] for trace in document["traces"]] == ["tr_0", "tr_2", "tr_4"]
    assert document["traces"][0]["score"] == 0.5
    assert [t["id"] for t in json.loads(run("list", "--scored", "--json"))["traces"]] == ["tr_0"]
    assert [t["id"] for t in json.loads(run("list", "--days", "1.5", "--json"))["traces"]] == ["tr_3", "tr_4"]


def test_show_explains_the_choice(filled: Path) -> None:
    shown = run("show", "tr_4")
    assert "Why small? It has the largest objective" in shown
    assert "It failed before its first byte, so large answered." in shown
    assert "no tools" in shown
    assert "[odd]" in shown
    assert "[bold] broken" in shown
    assert "what is tr_4?" in shown
    assert "chosen" in next(line for line in shown.splitlines() if line.strip().startswith("small") and "0.750" in line)


def test_show_as_json_and_last(filled: Path) -> None:
    document = json.loads(run("show", "last", "--json"))
    assert document["id"] == "tr_4"
    small, _, odd = document["decision"]["experts"]
    assert (small["quality"], small["eligible"], odd["refusal"]) == (0.75, True, "no tools")
    assert len(document["decision"]["signals"]["embedding"]) == 128
    assert document["calls"][0]["status"] == 500


def test_export(filled: Path, tmp_path: Path) -> None:
    assert json.loads(run("export", "log", "--json"))["outcomes"] == 1
    assert "to [x]log" in run("export", "[x]log")
    assert OutcomeLog.read(tmp_path / "log").query_ids == ["tr_0"]


def test_export_counts_what_it_looked_at(filled: Path) -> None:
    run("grade", str(_scores(filled, "tr_4")))
    found = json.loads(run("export", "log", "--days", "2", "--json"))
    assert (found["traces"], found["outcomes"]) == (2, 1)
    assert "1 traces have none yet" in run("export", "log", "--days", "2")


def _scores(folder: Path, *traces: str) -> Path:
    path = folder / "scores.jsonl"
    path.write_text("".join(json.dumps({"trace": trace, "score": 1}) + "\n" for trace in traces))
    return path


def test_grade_by_target_then_export(filled: Path, tmp_path: Path) -> None:
    rules = [
        {"trace": "tr_1", "target": "4"},
        {"prompt": "what is tr_2?", "target": "5", "grader": "numeric"},
        {"trace": "tr_3", "score": 0.25},
        {"trace": "tr_0", "score": 0.0},
        {"trace": "unknown", "score": 0.0},
    ]
    (tmp_path / "rules.jsonl").write_text("\n".join(map(json.dumps, rules)))
    graded = json.loads(run("grade", "rules.jsonl", "--json"))
    assert (graded["graded"], graded["mean_score"]) == (3, pytest.approx(1.25 / 3))  # tr_0 had its outcome
    run("export", "log")
    log = OutcomeLog.read(tmp_path / "log")
    scores = dict(zip(log.outcomes["query_id"], log.outcomes["score"], strict=True))
    assert scores == {"tr_0": 0.5, "tr_1": 1.0, "tr_2": 0.0, "tr_3": 0.25}
    assert json.loads(run("grade", "rules.jsonl", "--again", "--json"))["graded"] == 4
    assert json.loads(run("show", "tr_0", "--json"))["score"] == 0.0


def test_prune(filled: Path) -> None:
    assert json.loads(run("prune", "--max-days", "2", "--json"))["deleted"] == 3
    assert json.loads(run("list", "--json"))["total"] == 2


@pytest.mark.parametrize("arguments", [["list"], ["show", "x"], ["export", "log"], ["prune"]])
def test_no_traces_yet(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["traces", *arguments])
    assert caught.value.code == 1
    assert "error: no traces at" in capsys.readouterr().err


def test_errors_are_one_line(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["show", "nope"], "unknown trace 'nope'"),
        (["show", "tr_"], "several traces begin with 'tr_'"),
        (["grade", "none.jsonl"], "cannot read none.jsonl"),
    ):
        with pytest.raises(SystemExit):
            main(["traces", *arguments])
        assert capsys.readouterr().err.startswith(f"error: {message}")
