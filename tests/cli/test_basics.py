from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from turnout import __version__
from turnout.cli import build, main
from turnout.cli._output import plain, show

RUN = CliRunner()
FOLDER = Path(__file__).parents[2] / "src" / "turnout" / "cli"
COMMANDS = sorted(f.stem.replace("_", "-") for f in FOLDER.glob("*.py") if not f.stem.startswith("_"))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))


def test_every_file_is_a_command_with_help() -> None:
    shown = RUN.invoke(build(), ["--help"]).output
    for name in COMMANDS:
        assert name in shown
        helped = RUN.invoke(build(), [name, "--help"])
        assert helped.exit_code == 0, helped.output


def test_version() -> None:
    assert RUN.invoke(build(), ["--version"]).output.strip() == f"turnout {__version__}"


def test_init_writes_what_config_reads(tmp_path: Path) -> None:
    assert RUN.invoke(build(), ["init"]).exit_code == 0
    shown = json.loads(RUN.invoke(build(), ["config", "show", "--json"]).output)
    assert shown["gateway.port"] == {"value": 8790, "origin": "default"}
    assert shown["home"]["origin"] == "TURNOUT_HOME"
    with pytest.raises(SystemExit) as stopped:
        main(["init"])
    assert stopped.value.code == 2
    (tmp_path / "turnout.toml").write_text("[gateway]\nport = 1234\n")
    shown = json.loads(RUN.invoke(build(), ["config", "show", "--json"]).output)
    assert shown["gateway.port"] == {"value": 1234, "origin": "turnout.toml"}


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "turnout.toml").write_text("[gateway]\nprot = 1\n")
    with pytest.raises(SystemExit) as stopped:
        main(["config", "show"])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: unknown key `gateway.prot`; did you mean 'port'?")
    assert said.err.count("\n") == 1


def test_clean_keeps_weights_unless_asked(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("models/a.gguf", "traces.sqlite", "traces.sqlite-wal", "logs/x.log", "imports/x/a.json", "mine.txt"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("x")
    assert RUN.invoke(build(), ["clean"], input="n\n").exit_code == 1
    assert (home / "traces.sqlite").exists()
    assert RUN.invoke(build(), ["clean", "--yes"]).exit_code == 0
    assert sorted(entry.name for entry in home.iterdir()) == ["mine.txt", "models"]
    assert RUN.invoke(build(), ["clean", "--models", "-y"]).exit_code == 0
    assert [entry.name for entry in home.iterdir()] == ["mine.txt"]
    assert "nothing to remove" in RUN.invoke(build(), ["clean"]).output


def test_the_configured_home_is_shown_and_cleaned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TURNOUT_HOME")
    (tmp_path / "turnout.toml").write_text('home = "kept here"\n')
    (tmp_path / "kept here").mkdir()
    (tmp_path / "kept here" / "traces.sqlite").touch()
    assert RUN.invoke(build(), ["config", "path"]).output.endswith("data: kept here\n")
    assert RUN.invoke(build(), ["clean", "--yes"]).exit_code == 0
    assert list((tmp_path / "kept here").iterdir()) == []


def test_a_configuration_is_shown_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "turnout.toml").write_text(
        '[router]\ndefault = "[/x]"\n[router.signals.k]\ntype = "regex"\npattern = "[a-z]+"\n'
    )
    shown = RUN.invoke(build(), ["config", "show"])
    assert shown.exit_code == 0, shown.exception
    assert "'[/x]'" in shown.output
    assert "'[a-z]+'" in shown.output


def test_a_place_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["init", "no such folder/x.toml"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: [Errno 2] No such file or directory: 'no such folder/x.toml'\n"


def test_plain_and_show() -> None:
    import numpy as np

    assert plain({"a": np.array([1.0, np.nan]), 2: (np.float32(0.5), {"x"})}) == {"a": [1.0, None], "2": [0.5, ["x"]]}
    assert [show(v) for v in (True, "x", 0.0, float("nan"), 123456)] == ["True", "x", "0.000", "—", "123,456"]
