"""Bars pass and miss as they should; each bench runs on a small made log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from turnout import registry
from turnout.errors import UnknownNameError
from turnout.evaluation import benchmark
from turnout.evaluation.benchmark import at_least, at_most, clear_of_zero
from turnout.evaluation.methods import Recipe
from turnout.outcomes import OutcomeLog
from turnout.stats import Interval


@pytest.mark.parametrize(
    ("bar", "passed", "gap"),
    [
        (at_least("", 0.6, Interval(0.61, 0.5, 0.7)), True, 0.01),
        (at_least("", 0.6, Interval(0.58, 0.5, 0.7)), False, -0.02),
        (at_most("", 0.5, Interval(0.45, 0.4, 0.6)), True, 0.05),
        (at_most("", 0.5, Interval(0.55, 0.4, 0.6)), False, -0.05),
        (clear_of_zero("", Interval(0.1, 0.02, 0.2)), True, 0.02),
        (clear_of_zero("", Interval(0.1, -0.02, 0.2)), False, -0.02),
    ],
)
def test_bars(bar: benchmark.Bar, passed: bool, gap: float) -> None:
    assert bar.passed is passed
    assert bar.gap == pytest.approx(gap)


def ridge() -> list[Recipe]:
    return [Recipe(registry.create("estimator", "ridge"), "router")]


def test_nine_llm_bars_on_a_made_log(log: OutcomeLog) -> None:
    found, bars = benchmark.nine_llm(log, ridge(), (0,), None)
    assert [bar.passed for bar in bars] == [True, True, True, True]
    assert found.evaluation.rows[1].name == "router at half cost"


def test_a_router_that_knows_nothing_misses(log: OutcomeLog) -> None:
    _, bars = benchmark.nine_llm(log, [Recipe(registry.create("estimator", "constant"), "router")], (0,), None)
    assert not bars[0].passed


def test_mmlu_bars_on_a_made_log(make_log: Callable[..., OutcomeLog], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MMLU_LABELS", 200)
    two = make_log(700).only(["sums", "big"])
    found, bars = benchmark.mmlu(two, ridge(), (0, 1), None)
    assert bars[0].passed
    assert bars[0].measured.mean > 0.1
    assert "200 labelled" in found.evaluation.protocol


def test_gsm8k_bar_has_the_absolute_figure(make_log: Callable[..., OutcomeLog]) -> None:
    _, bars = benchmark.gsm8k(make_log(300).only(["sums", "big"]), ridge(), (0,), None)
    assert "APGR" in bars[0].note


def test_local_pool_has_a_bar_for_every_arm(make_log: Callable[..., OutcomeLog]) -> None:
    partial = make_log(400, partial=True)
    found, bars = benchmark.local_pool(partial, ridge(), (0,), None)
    assert len(bars) == 2 + 3
    by_claim = {bar.claim: bar for bar in bars}
    assert by_claim["gain over big for no more than its cost"].passed
    cheapest = by_claim["gain over sums for no more than its cost"]
    assert (cheapest.wanted, cheapest.measured.mean) == ("≥ 0", 0.0)
    assert not [row for row in found.evaluation.rows if row.name.startswith("always")]


def test_run_names_the_table_and_its_source(make_log: Callable[..., OutcomeLog], tmp_path: Path) -> None:
    make_log(120).write(tmp_path / "local_pool")
    outcome = benchmark.run("local_pool", tmp_path, ridge(), seeds=(0,))
    assert outcome.evaluation.title.startswith("local_pool: ")
    assert outcome.evaluation.nominal
    assert outcome.evaluation.facts["source"]


def test_an_unknown_bench_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="local_pool"):
        benchmark.run("local_pol", tmp_path, [])


@pytest.mark.slow
def test_a_simple_estimator_beats_the_best_single_expert_on_nine_llm(shared_data: Path) -> None:
    """A floor under what the product does: clusters of the shipped embedding alone, one seed."""
    prototypes = registry.create("estimator", "prototype")
    outcome = benchmark.run("nine_llm", shared_data, [Recipe(prototypes, "router", cross_fit=False)], seeds=(0,))
    assert outcome.bars[0].passed
    assert outcome.evaluation.rows[0].accuracy.mean > 0.63
