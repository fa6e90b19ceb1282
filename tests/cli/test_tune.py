"""`turnout tune` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from turnout.cli import build
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.testing.encoders import tensors, write

RUN = CliRunner()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    kind_N = rng.integers(0, 2, 240)
    prompts = [f"{('add the sums', 'name the town')[k]} {n} {rng.integers(1e9)}" for n, k in enumerate(kind_N)]
    chance_NE = np.stack([0.9 - 0.7 * kind_N, 0.2 + 0.7 * kind_N], axis=1)
    scores_NE = (rng.random((240, 2)) < chance_NE) * 1.0
    path = tmp_path_factory.mktemp("log") / "log"
    OutcomeLog.from_arrays(prompts, ["sums", "towns"], scores_NE, cost_NE=np.full((240, 2), 1e-4)).write(path)
    return path


def test_tune_prints_one_document_and_saves_the_router(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "router"
    words = ["tune", str(log), "--out", str(out), "--methods", "constant,ridge,length", "--folds", "2", "--json"]
    done = RUN.invoke(build(), words)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert "ridge" in result["winner"]
    assert result["nested"]["rows"][0]["gain"]["low"] > 0
    assert {row["name"] for row in result["leaderboard"]} >= {"constant", "ridge", "length"}
    assert Router.load(out).guard.passed


def test_tune_shows_a_leaderboard_and_a_report(log: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ["tune", str(log), "--out", str(tmp_path / "r"), "--methods", "constant,ridge", "--floor", "best"]
    done = RUN.invoke(build(), [*words, "--folds", "2", "--html", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    assert "leaderboard" in done.stdout
    assert "best single" in done.stdout
    assert (tmp_path / "page.html").is_file()


def test_methods_that_drop_out_for_one_reason_share_a_line(log: Path, tmp_path: Path) -> None:
    words = ["tune", str(log), "--out", str(tmp_path / "r"), "--methods", "constant,ridge,length", "--limit", "0"]
    done = RUN.invoke(build(), [*words, "--folds", "0"])
    assert done.exit_code == 0, done.output
    assert "not tried, or dropped: length, ridge: out of time" in done.stdout


def test_wrong_floors_are_refused(log: Path) -> None:
    done = RUN.invoke(build(), ["tune", str(log), "--floor", "high"])
    assert done.exit_code != 0
    assert "--floor" in str(done.exception)


def test_methods_are_tried_on_a_sentence_encoder_too(log: Path, tmp_path: Path) -> None:
    weights, out = write(tmp_path / "tiny.safetensors", tensors()), tmp_path / "router"
    words = ["tune", str(log), "--out", str(out), "--methods", "constant,prototype", "--folds", "2", "--json"]
    done = RUN.invoke(build(), [*words, "--encoder", str(weights)])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    tried = {row["name"] for row in result["leaderboard"]}
    assert tried >= {"constant", "prototype", "prototype on sentences"}
    assert "constant on sentences" not in tried
    assert len(Router.load(out).choose(["add the sums 12"])) == 1
