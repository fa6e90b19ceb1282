"""`turnout eval`, `bench` and `systems` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from turnout import registry
from turnout.cli import build
from turnout.cli._evaluation import numbers
from turnout.errors import ConfigError, LogError, UnknownNameError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.testing.encoders import tensors, write

RUN = CliRunner()


def made(n: int, seed: int) -> OutcomeLog:
    rng = np.random.default_rng(seed)
    kind_N = rng.integers(0, 2, n)
    words = ["add the plus total sums", "name the rivers of town"]
    prompts = [f"{words[k]} number {i} {rng.integers(1e6)}" for i, k in enumerate(kind_N)]
    chance_NE = np.stack([0.9 - 0.8 * kind_N, 0.1 + 0.8 * kind_N], axis=1)
    score_NE = (rng.random((n, 2)) < chance_NE) * 1.0
    tasks = ["sums" if k == 0 else "names" for k in kind_N]
    return OutcomeLog.from_arrays(prompts, ["a", "b"], score_NE, cost_NE=np.tile([1e-5, 3e-5], (n, 1)), tasks=tasks)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training log, a test log, a router, and tables for the bench."""
    folder = tmp_path_factory.mktemp("eval")
    train, test = made(240, 0), made(120, 1)
    train.write(folder / "train")
    test.write(folder / "test.jsonl")
    Router.fit(train, estimator=registry.create("estimator", "ridge")).save(folder / "router")
    train.write(folder / "data" / "local_pool")
    return folder


def run(*arguments: object) -> Any:
    done = RUN.invoke(build(), [str(argument) for argument in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


def test_eval_shows_every_baseline(home: Path) -> None:
    shown = run("eval", home / "router", home / "test.jsonl", "--seeds", 1).stdout
    for name in ("router", "random", "cheapest", "dearest", "best single", "prompt length", "task table", "oracle"):
        assert name in shown
    assert "WARNING" not in shown
    assert "APGR" in shown


def test_eval_on_the_training_log_says_so_loudly(home: Path) -> None:
    shown = run("eval", home / "router", home / "train", "--seeds", 1).stdout
    assert "WARNING" in shown
    assert "fitted on" in shown
    document = json.loads(run("eval", home / "router", home / "train", "--as-saved", "--seeds", 1, "--json").stdout)
    assert any("prove nothing" in warning for warning in document["warnings"])


def test_eval_prints_one_json_document_and_writes_the_page(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "deep" / "report.html"
    done = run("eval", home / "router", home / "test.jsonl", "--seeds", 1, "--html", page, "--json")
    document = json.loads(done.stdout)
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["router"]["gain"]["low"] > 0
    assert rows["oracle"]["accuracy"]["mean"] >= rows["router"]["accuracy"]["mean"]
    assert document["facts"]["queries"] == 120
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_eval_names_what_is_missing(home: Path, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no such file"):
        run("eval", home / "router", tmp_path / "absent.jsonl")


def test_bench_reports_each_bar(home: Path) -> None:
    arguments = ("bench", "--data", home / "data", "--only", "local_pool", "--seeds", 1, "--estimator", "ridge")
    document = json.loads(run(*arguments, "--json").stdout)
    bars = document["tables"]["local_pool"]["bars"]
    assert document["bars"] == len(bars) == 4
    assert document["passed"] == sum(bar["passed"] for bar in bars)
    shown = run(*arguments).stdout
    assert "of 4 bars passed" in shown
    assert shown.count("pass") + shown.count("miss") >= 4


def test_bench_measures_the_product_by_default(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "bench.html"
    arguments = ("bench", "--data", home / "data", "--only", "local_pool", "--seeds", 1, "--html", page, "--json")
    document = json.loads(run(*arguments).stdout)
    assert document["tables"]["local_pool"]["rows"][0]["name"] == "router"
    assert "local_pool" in page.read_text(encoding="utf-8")


def test_bench_gives_bare_estimators_a_sentence_encoder(home: Path, tmp_path: Path) -> None:
    weights = write(tmp_path / "tiny.safetensors", tensors())
    arguments = ("bench", "--data", home / "data", "--only", "local_pool", "--seeds", 1, "--json", "--estimator")
    plain, read = (
        json.loads(run(*arguments, "prototype", *more).stdout)["tables"]["local_pool"]["rows"][0]
        for more in ((), ("--encoder", weights))
    )
    assert read["name"] == plain["name"]
    assert read != plain
    with pytest.raises(ConfigError, match="names no signal `embedding`"):
        run(*arguments, "length", "--encoder", weights)


def test_bench_measures_the_mean_of_several_estimators(home: Path) -> None:
    arguments = ("bench", "--data", home / "data", "--only", "local_pool", "--seeds", 1, "--json", "--estimator")
    rows = [
        json.loads(run(*arguments, name).stdout)["tables"]["local_pool"]["rows"][0]
        for name in ("length+constant", "length")
    ]
    assert [row["name"] for row in rows] == ["length+constant", "length"]
    assert rows[0]["ece"] != rows[1]["ece"]
    with pytest.raises(UnknownNameError, match="absent"):
        run(*arguments, "length+absent")


def test_bench_measures_a_search(home: Path) -> None:
    arguments = ("bench", "--data", home / "data", "--only", "local_pool", "--seeds", 1, "--tune", "length,task_table")
    rows = json.loads(run(*arguments, "--curve", "--json").stdout)["tables"]["local_pool"]["rows"]
    assert rows[0]["name"] == "tuned"
    with pytest.raises(ConfigError, match="--tune without"):
        run(*arguments, "--estimator", "ridge")


def test_bench_refuses_options_that_a_table_would_not_heed(home: Path) -> None:
    with pytest.raises(ConfigError, match="greenserv: measured by a system"):
        run("bench", "--data", home / "data", "--only", "greenserv", "--estimator", "ridge")


def test_bench_without_tables_says_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURNOUT_DATA", raising=False)
    with pytest.raises(ConfigError, match="--data"):
        run("bench")
    with pytest.raises(ConfigError, match="must hold one of"):
        run("bench", "--data", tmp_path)


def test_systems_are_listed_and_shown() -> None:
    listed = json.loads(run("systems", "list", "--json").stdout)["systems"]
    assert [system["name"] for system in listed] == list(registry.names("system"))
    assert "Avengers" in run("systems", "list", "--markdown").stdout
    shown = run("systems", "show", "avengers").stdout
    assert "2505.19797" in shown
    assert "differs from the paper" in shown


def test_a_system_is_measured_beside_the_baselines_and_recorded(home: Path, tmp_path: Path) -> None:
    record = tmp_path / "avengers.json"
    arguments = ("systems", "run", "avengers", "--data", home / "data", "--table", "local_pool", "--seeds", 1)
    document = json.loads(run(*arguments, "--record", record, "--json").stdout)
    assert document["rows"][0]["name"] == "avengers"
    kept = json.loads(record.read_text(encoding="utf-8"))
    assert kept["table"] == "local_pool"
    assert kept == document
    assert kept["value"]["mean"] == kept["rows"][0]["accuracy"]
    assert {row["name"] for row in kept["rows"]} >= {"avengers", "best single", "oracle"}


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (0, 1, 2)), ("4,7", (4, 7)), ("5,", (5,)), (",", None), ("x", None), ("0", None)]
)
def test_seeds_are_a_count_or_a_list(text: str, seeds: tuple[int, ...] | None) -> None:
    if seeds is None:
        with pytest.raises(ConfigError, match="--seeds"):
            numbers(text)
    else:
        assert numbers(text) == seeds
