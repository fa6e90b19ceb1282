"""`turnout nn` as a user runs it, on a few steps of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from turnout.cli import build
from turnout.errors import ConfigError, UnknownNameError

pytest.importorskip("torch")

RUN = CliRunner()


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own help as text, three steps, a handful of windows."""
    from turnout.nn.beds import chars

    monkeypatch.delenv("TURNOUT_DATA", raising=False)
    monkeypatch.setattr(chars, "STEPS", 3)
    monkeypatch.setattr(chars, "WINDOWS", 4)
    monkeypatch.setattr(chars, "_cached", {})


@pytest.mark.usefixtures("few_steps")
def test_bench_measures_records_and_counts_verdicts(tmp_path: Path) -> None:
    shown = RUN.invoke(
        build(), ["nn", "bench", "--only", "basics_dense,rmoe", "--seeds", "2", "--record", str(tmp_path), "--json"]
    )
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert [row["name"] for row in found["systems"]] == ["basics_dense", "rmoe"]
    assert sum(found["verdicts"].values()) == 2
    figures = found["systems"][1]["figures"]
    assert {row["name"] for row in figures["rows"]} >= {"rmoe", "top-2 + switch"}
    assert json.loads((tmp_path / "rmoe.json").read_text())["metric"] == figures["metric"]
    assert [file.name for file in tmp_path.iterdir()] == ["rmoe.json"]


@pytest.mark.usefixtures("few_steps")
def test_bench_prints_one_table() -> None:
    shown = RUN.invoke(build(), ["nn", "bench", "--only", "basics_locality", "--seeds", "2"])
    assert shown.exit_code == 0, shown.output
    assert "SRP, 16 tokens" in shown.output
    assert "i.i.d. control" in shown.output


@pytest.mark.usefixtures("few_steps")
def test_what_cannot_be_measured_is_said_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from turnout.nn.presets import _chars

    def nowhere(*_: object) -> None:
        raise ConfigError("no text")

    from turnout.nn.presets import rmoe

    monkeypatch.setattr(rmoe, "bed_of", nowhere)
    assert _chars.bed_of is not nowhere
    shown = RUN.invoke(build(), ["nn", "bench", "--only", "rmoe,basics_locality", "--seeds", "2", "--json"])
    assert shown.exit_code == 1
    first, second = json.loads(shown.stdout)["systems"]
    assert first["error"] == "no text"
    assert second["figures"]["metric"] == "SRP, 16 tokens"


def test_bench_refuses_unknown_names() -> None:
    shown = RUN.invoke(build(), ["nn", "bench", "--only", "nobody"])
    assert isinstance(shown.exception, UnknownNameError)


def test_parts_are_listed_with_what_they_do() -> None:
    found = json.loads(RUN.invoke(build(), ["nn", "parts", "--json"]).stdout)["parts"]
    says = {(one["kind"], one["name"]): one["says"] for one in found}
    assert says["selector", "top_k"].startswith("The k experts of the highest scores")
    assert all(says.values())
    page = RUN.invoke(build(), ["nn", "parts", "--markdown"]).stdout
    assert page.count("\n| `") == len(found)
    assert "## Dispatchers" in page


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else real(name, *rest))
    shown = RUN.invoke(build(), ["nn", "parts"])
    assert isinstance(shown.exception, ConfigError)
    assert "turnout[nn]" in str(shown.exception)
