"""`turnout robustness` as a user runs it."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path

import pytest
from typer.testing import CliRunner

from turnout.cli import build
from turnout.cli._paraphrase import LONGEST, believable, paraphrase
from turnout.cli.robustness import _questions
from turnout.errors import ExpertError, LogError, UnknownNameError
from turnout.experts.pool import Pool
from turnout.outcomes import OutcomeLog
from turnout.testing.experts import Script, ScriptedExpert

RUN = CliRunner()


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"What is {n} + {n + 1}?"}) + "\n" for n in range(12)))
    return path


def test_questions_of_a_file_are_measured_with_and_without_smoothing(questions: Path) -> None:
    done = RUN.invoke(build(), ["robustness", str(questions), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert [row["router"] for row in result["routers"]] == ["shipped", "shipped smoothed"]
    assert result["routers"][0]["accuracy"] is None
    assert {"shipped"} == set(result["smoothing"])
    assert {row["perturbation"] for row in result["routers"][0]["flips"]} >= {"typos", "courtesy", "all"}


def test_a_log_shows_scores(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    prompts = [f"What is {n}?" for n in range(8)]
    OutcomeLog.from_arrays(prompts, ["smollm2-135m"], [[n % 2] for n in range(8)]).write(log)
    done = RUN.invoke(build(), ["robustness", str(log), "--no-smooth", "--sample", "5"])
    assert done.exit_code == 0, done.output
    assert "flip rate" in done.stdout
    assert "mean score" in done.stdout


def test_bad_questions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": 3}\n')
    done = RUN.invoke(build(), ["robustness", str(path)])
    assert "`prompt` must be a text" in str(done.exception)


@pytest.mark.parametrize("name", ["l.txt", "l.jsonl", "none.txt"])
def test_unreadable_questions_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"caf\xe9")
    (tmp_path / "l.jsonl").write_bytes(b'{"prompt": "caf\xe9"}')
    with pytest.raises(LogError, match=rf"cannot read .*{name}"):
        _questions(tmp_path / name)


def test_questions_of_windows_are_read(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(BOM_UTF8 + b'{"prompt": "one"}\r\n{"prompt": "two"}\r\n')
    (tmp_path / "q.txt").write_bytes(BOM_UTF8 + b"one\r\ntwo")
    assert _questions(tmp_path / "q.jsonl") == _questions(tmp_path / "q.txt") == ["one", "two"]


def test_a_paraphrase_must_keep_words_and_add_no_essay() -> None:
    text = "Who wrote the Odyssey and when?"
    assert believable(text, "Who was it that wrote the Odyssey, and when?") is not None
    assert believable(text, text) is None
    assert believable(text, "who wrote the " * 60) is None


async def test_an_expert_writes_paraphrases_and_bad_ones_are_left_out() -> None:
    texts = ["Who wrote the Odyssey?", "What is 2 + 2?", "x" * (LONGEST + 1), "Name a river of Peru."]
    writer = ScriptedExpert("writer", Script("Which author wrote the Odyssey?"), Script("4"), Script(status=500))
    made = await paraphrase(Pool({"writer": writer}), "writer", texts, at_once=1)
    assert made == ["Which author wrote the Odyssey?", None, None, None]
    with pytest.raises(UnknownNameError, match="writer"):
        await paraphrase(Pool({"writer": writer}), "writters", texts)
    with pytest.raises(ExpertError, match="answered 500"):
        await paraphrase(Pool({"writer": ScriptedExpert("writer", Script(status=500))}), "writer", texts)
