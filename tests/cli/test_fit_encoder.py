"""`turnout fit --encoder`: the default stack reads a sentence encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from turnout.cli import build
from turnout.errors import ConfigError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.testing.encoders import tensors, write

RUN = CliRunner()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    texts = [f"{'add the sums' if n % 2 else 'name the river'} number {n * 7919 % 997}" for n in range(80)]
    OutcomeLog.from_arrays(texts, ["sums", "names"], [[n % 2, 1 - n % 2] for n in range(80)]).write(tmp_path / "log")
    return tmp_path / "log"


def test_the_router_keeps_the_encoder(log: Path, tmp_path: Path) -> None:
    weights = write(tmp_path / "tiny.safetensors", tensors())
    words = ["fit", str(log), "-o", str(tmp_path / "router"), "--encoder", str(weights), "--json"]
    done = RUN.invoke(build(), words)
    assert done.exit_code == 0, done.exception
    assert "sentence" in json.loads(done.stdout)["estimator"]
    router = Router.load(tmp_path / "router")
    assert router.experts[int(router.choose(["add the sums number 12"])[0])] == "sums"


@pytest.mark.parametrize("option", [("--estimator", "ridge"), ("--engine", "chunks")])
def test_it_is_for_the_default_estimator(log: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    words = ["fit", str(log), "-o", str(tmp_path / "router"), "--encoder", "all-minilm-l6-v2", *option]
    refused = RUN.invoke(build(), words).exception
    assert isinstance(refused, ConfigError)
    assert "--encoder is for the default estimator" in str(refused)
