"""`turnout models` as a user runs it; nothing is downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from turnout import models
from turnout.cli import build, main
from turnout.models import weights
from turnout.testing.experts import unused_url

RUN = CliRunner()


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def put(folder: Path, name: str) -> Path:
    """A sparse file that stands for the weights."""
    model = models.get(name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / model.file).open("wb") as handle:
        handle.truncate(model.size)
    return folder / model.file


def test_list_tells_what_is_here(folder: Path) -> None:
    file = put(folder, "smollm2-135m")
    listed = json.loads(RUN.invoke(build(), ["models", "list", "--json"]).stdout)
    assert listed["folder"] == str(folder)
    here = {model["name"]: model["here"] for model in listed["models"]}
    assert here == {
        "smollm2-135m": True,
        "qwen2.5-coder-0.5b": False,
        "qwen2.5-coder-1.5b": False,
        "all-minilm-l6-v2": False,
    }
    assert listed["models"][0]["path"] == str(file)
    shown = RUN.invoke(build(), ["models", "list"]).stdout
    assert all(name in shown for name in here)


def test_path(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", "path", "smollm2-135m"])
    assert stopped.value.code == 1
    assert "fetch them with `turnout models pull smollm2-135m`" in capsys.readouterr().err
    file = put(folder, "smollm2-135m")
    assert RUN.invoke(build(), ["models", "path", "smollm2-135m"]).stdout.strip() == str(file)


def test_pull_of_what_is_here_does_nothing(folder: Path) -> None:
    file = put(folder, "smollm2-135m")
    pulled = RUN.invoke(build(), ["models", "pull", "smollm2-135m", "--json"])
    assert json.loads(pulled.stdout) == {"smollm2-135m": str(file)}
    assert "fetching" not in pulled.stderr


def test_pull_tells_sizes_and_room_before_it_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", unused_url().removesuffix("/v1"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("TURNOUT_OFFLINE", raising=False)
    with pytest.raises(SystemExit) as stopped:
        main(["models", "pull", "smollm2-135m"])
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "fetching smollm2-135m (98 MB) into" in said.err
    assert "GB are free there" in said.err
    assert "error: cannot fetch the weights of smollm2-135m" in said.err


def test_rm(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = put(folder, "smollm2-135m")
    removed = RUN.invoke(build(), ["models", "rm", "smollm2-135m", "qwen2.5-coder-0.5b", "--json"])
    assert json.loads(removed.stdout) == {"smollm2-135m": 98_362_432, "qwen2.5-coder-0.5b": 0}
    assert not file.exists()
    file = put(folder, "smollm2-135m")
    with pytest.raises(SystemExit):
        main(["models", "rm", "smollm2-135m", "nope"])
    assert "unknown model 'nope'" in capsys.readouterr().err
    assert weights.is_whole(file, models.get("smollm2-135m"))
