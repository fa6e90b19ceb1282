"""Bars pass and miss as they should; each bench runs on a small made log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
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
    found, bars = benchmark.nine_llm(log, ridge(), (0, 1), None)
    by_claim = {f"{bar.claim} {bar.wanted}": bar for bar in bars}
    assert len(by_claim) == len(bars)
    kept = "difference to the best single expert at equal quality ≥ 0"
    assert {claim for claim, bar in by_claim.items() if not bar.passed} <= {"accuracy above the table by true task ≥ 0"}
    assert by_claim[kept].measured.mean >= 0
    assert "2 of 2 seeds" in by_claim["… in every seed each interval above 0"].note
    assert [row.name for row in found.evaluation.rows[1:3]] == ["router at half cost", "router at equal quality"]
    costs = [row.cost.mean for row in found.evaluation.rows[:3] if row.cost]
    assert costs[2] < costs[0]


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


def by_task(log: OutcomeLog, names: dict[str, str]) -> OutcomeLog:
    """The log with its tasks renamed, halves of each told apart as train and test."""
    sides = ["_train" if n % 2 else "_test" for n in range(len(log))]
    tasks = [names[task] + side for task, side in zip(log.tasks or (), sides, strict=True)]
    return OutcomeLog.from_arrays(
        log.texts, log.experts, log.matrix(), tasks=tasks, query_ids=log.query_ids, cost_NE=log.matrix("cost")
    )


def test_seven_llm_learns_on_its_training_side(make_log: Callable[..., OutcomeLog]) -> None:
    sided = by_task(make_log(300), {"sums": "sums", "names": "names"})
    found, bars = benchmark.seven_llm(sided, ridge(), (0, 1), None)
    assert bars[0].passed
    tested = found.measured["router"].seed_value_SN[0]
    assert np.isnan(tested[1::2]).all()  # the training side is not tested
    assert np.isfinite(tested[::2]).all()


def test_seven_llm_at_random_tests_the_smaller_part(make_log: Callable[..., OutcomeLog]) -> None:
    found, bars = benchmark.seven_llm_at_random(make_log(300), ridge(), (0, 1), None)
    assert bars[0].passed
    for value_N in found.measured["router"].seed_value_SN.values():
        assert np.isfinite(value_N).mean() == pytest.approx(0.3, abs=0.02)


def test_a_family_left_out_is_taught_by_the_others(make_log: Callable[..., OutcomeLog]) -> None:
    """Whoever learned on sums alone sends names to the wrong expert, and the bar shows it."""
    sided = by_task(make_log(300), {"sums": "sums", "names": "names"}).only(["sums", "names"])
    _, bars = benchmark.seven_llm_families(sided, ridge(), (0,), None)
    assert {bar.claim.split(" on ")[1] for bar in bars} == {"sums, unseen", "names, unseen"}
    assert all(abs(bar.measured.mean) < 0.2 for bar in bars)


def test_routerbench_compares_with_a_coin_between_single_experts(make_log: Callable[..., OutcomeLog]) -> None:
    found, bars = benchmark.routerbench(make_log(300), ridge(), (0,), None)
    row = found.evaluation.row("router")
    assert row.aiq is not None
    assert found.evaluation.aiq_singles is not None
    assert bars[0].measured.mean == pytest.approx(row.aiq - found.evaluation.aiq_singles)
    assert bars[0].passed
    assert bars[0].measured.low < bars[0].measured.mean < bars[0].measured.high


def test_alpacaeval_passes_where_the_router_abstains(log: OutcomeLog) -> None:
    _, bars = benchmark.alpacaeval(log, ridge(), (0,), None)
    assert bars[0].passed
    assert "abstains" not in bars[0].note
    _, bars = benchmark.alpacaeval(log, [Recipe(registry.create("estimator", "constant"), "router")], (0,), None)
    assert bars[0].passed
    assert "abstains" in bars[0].note


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
