"""`turnout collect` against a real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from turnout.cli import build, main
from turnout.cli.collect import _limits
from turnout.errors import ConfigError
from turnout.outcomes import OutcomeLog
from turnout.testing.experts import Script, ScriptedServer

RUN = CliRunner()
QUESTIONS = [{"prompt": f"Say {word}", "target": word, "grader": "contains"} for word in ("one", "two", "three")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedServer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    with ScriptedServer(Script(text=None)) as running:
        (tmp_path / "turnout.toml").write_text(
            f"""
            [embedded]
            models = []
            [[experts]]
            id = "echo"
            base_url = "{running.base_url}"
            price = {{ input = 1.0, output = 2.0 }}
            [[experts]]
            id = "echo+steps"
            model = "echo"
            suffix = " Think."
            base_url = "{running.base_url}"
            """
        )
        yield running


def run(*arguments: str) -> dict[str, object]:
    result = RUN.invoke(build(), ["collect", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, object] = json.loads(result.stdout)
    return document


def test_a_log_from_a_jsonl_file(server: ScriptedServer, tmp_path: Path) -> None:
    result = run("q.jsonl", "-o", "log", "--max-tokens", "50", "--max-tokens", "*+steps=90")
    assert (result["answers"], result["missing"], result["asked"]) == (6, 0, 6)
    assert result["experts"] == [
        {"expert": "echo", "answers": 3, "score": 1.0},
        {"expert": "echo+steps", "answers": 3, "score": 1.0},
    ]
    log = OutcomeLog.read(tmp_path / "log")
    assert log.is_full
    assert log.only(["echo"]).matrix("cost")[0, 0] == pytest.approx(20e-6)
    bodies = sorted((r.json() for r in server.requests), key=lambda body: body["max_tokens"])
    assert [body["max_tokens"] for body in bodies] == [50] * 3 + [90] * 3
    assert {body["model"] for body in bodies} == {"echo"}
    assert all(body["messages"][0]["content"].endswith(" Think.") for body in bodies[3:])
    assert run("q.jsonl", "-o", "log", "--max-tokens", "50", "--max-tokens", "*+steps=90")["asked"] == 0


def test_chosen_experts_and_a_person_reading(server: ScriptedServer) -> None:
    shown = RUN.invoke(build(), ["collect", "q.jsonl", "-o", "log", "--experts", "*+steps"])
    assert shown.exit_code == 0
    assert "3 answers in log" in shown.stdout
    assert len(server.requests) == 3


def test_the_cap_is_told(server: ScriptedServer) -> None:
    result = run("q.jsonl", "-o", "log", "--experts", "echo", "--max-tokens", "50", "--max-usd", "0.00028")
    assert result["capped"] is True
    assert 0 < float(str(result["spent_usd"])) <= 0.00028


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["q.jsonl", "--experts", "nobody"], 1, "unknown expert 'nobody'"),
        (["none.jsonl"], 1, "cannot read none.jsonl"),
        (["chain_sums"], 1, "unknown task 'chain_sums'; did you mean 'chain_sum'"),
        (["q.jsonl", "--max-tokens", "many"], 2, "`--max-tokens` must be"),
        (["q.jsonl", "--max-tokens", "*=0"], 2, "`--max-tokens` must be"),
    ],
)
def test_errors_are_one_line(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["collect", *arguments, "-o", "log"])
    assert caught.value.code == status
    assert f"error: {message}" in capsys.readouterr().err
    assert not server.requests


def test_limits() -> None:
    assert _limits([]) == {"*": 512}
    assert _limits(["64", "*+steps=256"]) == {"*": 64, "*+steps": 256}
    with pytest.raises(ConfigError):
        _limits(["-5"])
