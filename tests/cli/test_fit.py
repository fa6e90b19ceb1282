"""`turnout fit`, `explain` and `route` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from turnout.cli import build
from turnout.cli.route import _request
from turnout.errors import LogError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router

RUN = CliRunner()


def call(*arguments: object, stdin: str | bytes | None = None, code: int = 0):
    result = RUN.invoke(build(), [str(argument) for argument in arguments], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sums` answers sums, `words` the rest; `words` costs ten times as much."""
    rng = np.random.default_rng(0)
    things = ["river", "castle", "engine", "violin", "comet", "harbour", "orchid", "senate", "glacier", "market"]
    texts = [
        " + ".join(str(rng.integers(10, 9999)) for _ in range(6)) + " ="
        if n % 2
        else f"Tell me about {' and '.join(rng.choice(things, 4))}, number {rng.integers(1e9)}."
        for n in range(240)
    ]
    kind_N = np.arange(240) % 2
    mean_NE = np.stack([0.05 + 0.9 * kind_N, 0.95 - 0.7 * kind_N], axis=1)
    scores_NE = (rng.random((240, 2)) < mean_NE).astype(float)
    cost_NE = np.tile([1e-4, 1e-3], (240, 1))
    path = tmp_path_factory.mktemp("logs") / "log.jsonl"
    OutcomeLog.from_arrays(texts, ["sums", "words"], scores_NE, cost_NE=cost_NE).write(path)
    return path


@pytest.fixture(scope="module")
def fitted(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("routers") / "router"
    call("fit", log, "-o", folder, "--estimator", "ridge", "--novelty", 0)  # what is asked here is shorter than the log
    return folder


def test_a_log_without_costs_has_no_cheapest_expert(log: Path, tmp_path: Path) -> None:
    read = OutcomeLog.read(log)
    OutcomeLog.from_arrays(read.texts, read.experts, read.matrix()).write(tmp_path / "log.jsonl")
    shown = call("fit", tmp_path / "log.jsonl", "-o", tmp_path / "r", "--estimator", "ridge").stdout
    assert "cheapest" not in shown
    assert next(line for line in shown.splitlines() if "best single" in line).split()[-1] == "—"
    words = ["--methods", "constant,ridge", "--folds", "0", "-o", tmp_path / "r"]
    board = call("tune", tmp_path / "log.jsonl", *words).stdout
    assert next(line for line in board.splitlines() if line.startswith(" constant")).split()[-4] == "—"


def test_fit_prints_the_table_and_the_verdict(log: Path, tmp_path: Path) -> None:
    shown = call("fit", log, "-o", tmp_path / "r", "--estimator", "ridge").stdout
    for word in (
        "router",
        "best single (words)",
        "cheapest (sums)",
        "dearest (words)",
        "oracle",
        "routes: on held-out",
    ):
        assert word in shown
    assert Router.load(tmp_path / "r").experts == ("sums", "words")


def test_fit_prints_one_json_document(log: Path, tmp_path: Path) -> None:
    shown = json.loads(call("fit", log, "-o", tmp_path / "r", "--estimator", "ridge", "--json").stdout)
    assert shown["guard"]["passed"] is True
    assert shown["held_out"]["table"]["router"]["quality"] > shown["held_out"]["table"]["best single"]["quality"]
    assert shown["log"]["queries"] == 240


def test_names_with_brackets_are_shown_and_unpriced_experts_named(log: Path, tmp_path: Path) -> None:
    table = OutcomeLog.read(log)
    cost_NE = table.matrix("cost")
    cost_NE[:, 1] = np.nan
    names = ["sums[q4]", "words[/b]"]
    OutcomeLog.from_arrays(table.texts, names, table.matrix(), cost_NE=cost_NE).write(tmp_path / "log")
    shown = call("fit", tmp_path / "log", "-o", tmp_path / "r", "--estimator", "ridge").stdout
    assert "dearest (sums[q4])" in shown
    assert "no cost is known of words[/b], so it counts as free" in shown
    shown = call("eval", tmp_path / "r", tmp_path / "log", "--as-saved", "--seeds", "1").stdout
    assert "tells no cost of words[/b]" in shown


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        (["--save", "50"], "Budget(dollars_per_1k=0.5)"),
        (["--budget", "0.7"], "Budget(dollars_per_1k=0.7)"),
        (["--lam", "10"], "Utility(lam=10.0)"),
        (["--strong-share", "0.4"], "Share(strong_share=0.4, strong=None)"),
        (["--floor", "0.6", "--policy", "floor"], "Floor(quality=0.6)"),
        ([], "Utility(lam=0.0)"),
    ],
)
def test_targets_become_policies(log: Path, tmp_path: Path, options: list[str], policy: str) -> None:
    folder = tmp_path / "r"
    call("fit", log, "-o", folder, "--estimator", "ridge", *options)
    assert repr(Router.load(folder).policy) == policy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--save", "50", "--lam", "1"], "one target, got --save, --lam"),
        (["--save", "150"], r"\[0, 100\)"),
        (["--lam", "1", "--policy", "floor"], "--policy utility"),
        (["--policy", "flor"], "did you mean 'floor'"),
        (["--estimator", "rige"], "did you mean 'ridge'"),
        (["--lam=-1"], "`lam` must be a number in"),
        (["--novelty", "1"], r"novelty must be 0 \(off\) or a share of queries below 1, got 1.0"),
    ],
)
def test_wrong_options_are_named(log: Path, tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        RUN.invoke(build(), ["fit", str(log), "-o", str(tmp_path / "r"), *options], catch_exceptions=False)
    assert not (tmp_path / "r").exists()


def test_prices_come_from_a_configuration(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "turnout.toml"
    config.write_text(
        '[embedded]\nmodels = []\n[[experts]]\nid = "words"\nbase_url = "http://localhost:1/v1"\n'
        "context = 4096\nprice = { input = 3.0, output = 9.0 }\n"
    )
    call("fit", log, "-o", tmp_path / "r", "--estimator", "ridge", "--arms", config)
    arm = Router.load(tmp_path / "r").arms[1]
    assert (arm.price.output, arm.limits.context) == (9.0, 4096)


def test_explain_for_people_and_as_json(fitted: Path) -> None:
    shown = call("explain", fitted, "12 + 55 + 1234 + 99 =").stdout
    assert "sums" in shown.splitlines()[0]
    assert "what would flip the choice" in shown
    document = json.loads(call("explain", fitted, "-", "--json", stdin="Tell me about a river.").stdout)
    assert document["expert"] == "words"
    assert len(document["neighbours"]) == 5


def test_explain_says_that_a_form_is_new(log: Path, tmp_path: Path) -> None:
    made = json.loads(call("fit", log, "-o", tmp_path / "r", "--estimator", "ridge", "--json").stdout)
    assert set(made["guard"]["novelty"]) == {"share", "limit"}
    assert "less usual than 98% of the log's go to words" in made["verdict"]
    shown = call("explain", tmp_path / "r", "def f(x):\n    return [x]\n").stdout
    assert shown.startswith("words (abstained)")
    assert "the form of this text is unlike the logged queries'" in shown


def test_route_streams_decisions(fitted: Path) -> None:
    lines = [
        {"id": "a", "prompt": "12 + 55 + 1234 + 99 ="},
        {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Tell me about a castle."}]},
        {"prompt": "12 + 55 =", "deny": ["sums"]},
    ]
    result = call("route", fitted, stdin="\n".join(map(json.dumps, lines)) + "\n\n")
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert (first["id"], first["expert"], first["fallbacks"]) == ("a", "sums", ["words"])
    assert (second["line"], second["expert"]) == (2, "words")
    assert third["refusals"] == {"sums": "denied"}
    full = json.loads(call("route", fitted, "--full", stdin='{"prompt": "hi"}').stdout)
    assert set(full["experts"]) == {"sums", "words"}


def test_route_reads_a_conversation_as_the_gateway_does() -> None:
    messages = [
        {"role": "user", "content": "How do I sort a list in Python?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "docs"}}]},
        {"role": "user", "content": "And in Rust?"},
    ]
    _, request = _request(json.dumps({"messages": messages}).encode())
    assert request.text == "Tools: docs\n\nHow do I sort a list in Python?\n\nAnd in Rust?"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nope", "not JSON"),
        (b"[1]", "must be an object"),
        (b'{"id": 3}', "needs `prompt`"),
        (b'{"prompt": 3}', "needs `prompt`"),
        (b'{"prompt": "x", "max_tokens": 0}', "`max_tokens` must be a positive integer"),
        (b'{"prompt": "x", "allow": "sums"}', "`allow` must be a list"),
        (b'{"prompt": "x", "allow": ["other"]}', "not among the allowed"),
        (b'{"messages": []}', "at least one message"),
        (b'{"messages": [{"role": "king", "content": "x"}]}', "role"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_bad_lines_are_named_and_the_others_routed(fitted: Path, line: bytes, message: str) -> None:
    result = call("route", fitted, stdin=b'{"prompt": "1 + 1"}\n' + line + b'\n{"prompt": "2 + 2"}\n', code=1)
    shown = [json.loads(row) for row in result.stdout.splitlines()]
    assert [row["line"] for row in shown] == [1, 2, 3]
    assert message in shown[1]["error"]
    assert "expert" in shown[0]
    assert "expert" in shown[2]
    assert result.stderr.startswith("line 2: ")


def test_route_is_reproducible_across_batches(fitted: Path) -> None:
    stdin = "\n".join(json.dumps({"prompt": f"{n} + {n} ="}) for n in range(300))
    one = call("route", fitted, "--explore", "0.5", stdin=stdin).stdout
    assert call("route", fitted, "--explore", "0.5", stdin=stdin).stdout == one
    assert len(one.splitlines()) == 300
    assert {json.loads(line)["expert"] for line in one.splitlines()} == {"sums", "words"}


def test_engines_other_than_local_fit_ridge_by_chunks(log: Path, tmp_path: Path) -> None:
    words = ["fit", str(log), "--out", str(tmp_path / "r"), "--estimator", "ridge", "--engine", "chunks", "--json"]
    done = RUN.invoke(build(), words)
    assert done.exit_code == 0, done.output
    assert "Ridge" in json.loads(done.stdout)["estimator"]
    refused = RUN.invoke(build(), [*words, "--smooth"])
    assert "--engine local" in str(refused.exception)


def test_a_judges_scores_can_be_learned_from(log: Path, tmp_path: Path) -> None:
    """The judge sees every answer the other way round."""
    read = OutcomeLog.read(log)
    judged = read.outcomes.with_columns((1 - pl.col("score")).alias("judge_score"))
    OutcomeLog(read.queries, judged).write(tmp_path / "judged")
    options = ("--estimator", "ridge", "--no-guard", "-o")
    call("fit", tmp_path / "judged", *options, tmp_path / "by_score")
    call("fit", tmp_path / "judged", "--judged", "1", *options, tmp_path / "by_judge")
    first, second = (Router.load(tmp_path / name).choose(read) for name in ("by_score", "by_judge"))
    assert (first != second).mean() > 0.9
    with pytest.raises(LogError, match="judge_score"):
        RUN.invoke(build(), ["fit", str(log), "--judged", "1"], catch_exceptions=False)
