"""`turnout collect` against a real HTTP server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
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


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_a_run_that_is_stopped_leaves_a_log(server: ScriptedServer, tmp_path: Path) -> None:
    server.scripts = (Script(text=None), Script(text=None), Script(text=None, delay_s=60))
    command = [sys.executable, "-m", "turnout", "collect", "q.jsonl", "-o", "log", "--concurrency", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while len(server.requests) < 3 and process.poll() is None:
            time.sleep(0.02)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode not in {0, None}
    assert OutcomeLog.read(tmp_path / "log").outcomes.height == 2


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


JUDGED = [{"prompt": "Say one", "target": "one", "grader": "judge"}, QUESTIONS[1]]


@pytest.fixture
def judge(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A second server, that judges, under `[judge]` with a key."""
    monkeypatch.setenv("JUDGE_KEY", "secret-of-the-judge")
    (tmp_path / "judged.jsonl").write_text("\n".join(map(json.dumps, JUDGED)))
    with ScriptedServer(Script("It says so.\nScore: 4")) as running:
        with (tmp_path / "turnout.toml").open("a") as file:
            file.write(
                f"""
            [judge]
            base_url = "{running.base_url}"
            model = "judge-1"
            key_env = "JUDGE_KEY"
            price = {{ input = 100.0, output = 100.0 }}
            scale = 5
            """
            )
        yield running


def test_a_judge_with_a_server_of_its_own(judge: ScriptedServer, tmp_path: Path) -> None:
    result = run("judged.jsonl", "-o", "log", "--experts", "echo")
    assert result["judge"] == {"judged": 1, "unjudged": 0, "spent_usd": pytest.approx(15e-4), "failure": None}
    (asked,) = judge.requests
    assert asked.headers["authorization"] == "Bearer secret-of-the-judge"
    assert (asked.json()["model"], asked.json()["temperature"]) == ("judge-1", 0.0)
    log = OutcomeLog.read(tmp_path / "log")
    assert sorted(log.matrix()[:, 0].tolist()) == [0.8, 1.0]
    assert log.experts == ("echo",), "the judge is no expert of the pool"
    both = run("judged.jsonl", "-o", "log", "--experts", "echo", "--judge-all")["judge"]
    assert both["judged"] == 1  # type: ignore[index]


def test_an_expert_of_the_pool_judges(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "judged.jsonl").write_text(json.dumps(JUDGED[0]))
    server.scripts = (Script("one"), Script("Score: 10"))
    result = run("judged.jsonl", "-o", "log", "--experts", "echo", "--judge", "echo+steps")
    assert result["judge"]["judged"] == 1  # type: ignore[index]
    assert OutcomeLog.read(tmp_path / "log").matrix().tolist() == [[1.0]]


def test_a_judge_that_fails_is_said_without_its_key(
    judge: ScriptedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    judge.scripts = (Script("no such key: secret-of-the-judge", status=401),)
    shown = RUN.invoke(build(), ["collect", "judged.jsonl", "-o", "log", "--experts", "echo"])
    assert shown.exit_code == 0
    assert "1 answers are not judged: judge judge did not answer: judge answered 401" in shown.stdout
    written = "".join(file.read_text() for file in (tmp_path / "log").glob("*.json*"))
    assert "secret-of-the-judge" not in shown.output + written
    (tmp_path / "one.jsonl").write_text(json.dumps(JUDGED[0]))
    with pytest.raises(SystemExit):
        main(["collect", "one.jsonl", "-o", "other", "--experts", "echo"])
    said = capsys.readouterr().err
    assert "no answer is judged yet; a failure: judge judge did not answer" in said
    assert "secret-of-the-judge" not in said


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "a judge is needed"),
        ('[judge]\nexpert = "nobody"', "unknown judge 'nobody'"),
        ('[judge]\nmodel = "m"', "needs `judge.base_url`"),
        ('[judge]\nbase_url = "host"', "must start with http"),
        ('[judge]\nbase_url = "http://h"\nexpert = "echo"', "got both"),
        ('[judge]\nbase_url = "http://h"\nkey_env = "ABSENT_KEY"', "ABSENT_KEY, which is not set"),
        ("[judge]\nmax_tokens = 0", "at least 1"),
    ],
)
def test_a_judge_must_be_given_rightly(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path, table: str, message: str
) -> None:
    (tmp_path / "judged.jsonl").write_text(json.dumps(JUDGED[0]))
    with (tmp_path / "turnout.toml").open("a") as file:
        file.write("\n" + table)
    with pytest.raises(SystemExit):
        main(["collect", "judged.jsonl", "-o", "log", "--experts", "echo"])
    assert message in capsys.readouterr().err
    assert not server.requests


@pytest.mark.e2e
def test_a_real_model_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest model hardly judges, but held to the form by a grammar it scores every answer."""
    from turnout import models
    from turnout.config import home

    models.pull("smollm2-135m", home())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    rows = [{"prompt": f"What is the capital of {of}?", "target": of, "grader": "judge"} for of in ("Chad", "Peru")]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "turnout.toml").write_text(
        """
        [embedded]
        models = ["smollm2-135m"]
        [judge]
        body = { grammar = 'root ::= "Score: " [0-9]' }
        """
    )
    result = run("q.jsonl", "-o", "log", "--experts", "smollm2-135m", "--judge", "smollm2-135m", "--max-tokens", "16")
    assert result["judge"]["judged"] == 2  # type: ignore[index]
    assert result["judge"]["spent_usd"] > 0  # type: ignore[index]
    log = OutcomeLog.read(tmp_path / "log")
    assert set(log.matrix()[:, 0].round(6).tolist()) <= {round(n / 10, 6) for n in range(10)}
    assert len(log) == 2
