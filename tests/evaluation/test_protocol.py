"""Every query is tested once per seed, never by a method that saw its group; budgets hold; figures are paired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from turnout import registry
from turnout.errors import LogError
from turnout.evaluation.methods import Fitted, Recipe
from turnout.evaluation.protocol import (
    Estimates,
    Rule,
    as_fitted,
    cheapest_as_good,
    crossval,
    few_labels,
    fixed,
    folds,
    held_out,
    study,
    within,
)
from turnout.evaluation.tables import Table
from turnout.outcomes import OutcomeLog

Make = Callable[..., OutcomeLog]


class Spy:
    """Estimates that are the truth on the test side, and a record of what it was given."""

    name, note = "spy", ""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.seen: list[tuple[np.ndarray, np.ndarray, int]] = []

    def __call__(self, log: OutcomeLog, train_I: np.ndarray, test_I: np.ndarray, seed: int) -> Estimates:
        self.seen.append((train_I, test_I, seed))
        rng = np.random.default_rng(seed)
        quality_NE = log.matrix() + self.noise * rng.standard_normal(log.matrix().shape)
        cost_NE = log.matrix("cost") if log.has("cost") else None
        return Estimates(
            train_quality_NE=quality_NE[train_I],
            test_quality_NE=quality_NE[test_I],
            choice_N=quality_NE[test_I].argmax(axis=1),
            train_cost_NE=None if cost_NE is None else cost_NE[train_I],
            test_cost_NE=None if cost_NE is None else cost_NE[test_I],
        )


@pytest.fixture(scope="module")
def duplicated(make_log: Make) -> OutcomeLog:
    log = make_log(60)
    prompts = [*log.texts, *(text.upper() for text in log.texts[:20])]
    scores = np.vstack([log.matrix(), log.matrix()[:20]])
    return OutcomeLog.from_arrays(prompts, log.experts, scores)


def test_each_query_is_tested_once_per_seed_and_groups_stay_together(duplicated: OutcomeLog) -> None:
    log, spy = duplicated, Spy()
    crossval([spy], log, seeds=(0, 1))
    groups = log.groups()
    tested = np.zeros((2, len(log)))
    for train_I, test_I, seed in spy.seen:
        tested[seed, test_I] += 1
        assert not set(groups[train_I]) & set(groups[test_I])
        assert len(train_I) + len(test_I) == len(log)
    assert (tested == 1).all()


def test_few_labels_keeps_groups_whole_and_tests_all_the_rest(duplicated: OutcomeLog) -> None:
    table = Table.of(duplicated)
    for split in few_labels(table, 30, seeds=(0, 1, 2)):
        assert 25 <= len(split.train_I) <= 30
        assert len(split.train_I) + len(split.test_I) == len(table)
        assert not set(table.group_N[split.train_I]) & set(table.group_N[split.test_I])


def test_folds_differ_from_seed_to_seed(log: OutcomeLog) -> None:
    table = Table.of(log)
    first, second = (folds(table, 5, (seed,))[0].test_I.tolist() for seed in (0, 1))
    assert first != second


def test_knowing_the_truth_reaches_the_oracle(log: OutcomeLog) -> None:
    found = crossval([Spy()], log, seeds=(0,))
    row, oracle = found.evaluation.row("spy"), found.evaluation.row("oracle")
    assert row.accuracy.mean == pytest.approx(oracle.accuracy.mean)
    assert row.gap is not None
    assert row.gap.mean == pytest.approx(0.0)
    assert row.ece == pytest.approx(0.0)
    assert found.evaluation.row("best single").gain is None


def test_figures_by_hand() -> None:
    log = OutcomeLog.from_arrays(
        ["one", "two and", "three or", "four but"], ["a", "b"], [[1, 0], [1, 1], [1, 0], [0, 1]], cost_NE=[[1, 3]] * 4
    )
    found = crossval([Spy()], log, k=4, seeds=(0,))
    rows = {row.name: row for row in found.evaluation.rows}
    assert rows["random"].accuracy.mean == pytest.approx(0.625)
    assert rows["cheapest"].accuracy.mean == pytest.approx(0.75)
    assert rows["oracle"].accuracy.mean == pytest.approx(1.0)
    assert rows["oracle"].cost is not None
    assert rows["oracle"].cost.mean == pytest.approx(1500.0)
    assert rows["random"].share == {"a": 0.5, "b": 0.5}
    assert rows["oracle"].share == {"a": 0.75, "b": 0.25}
    assert found.cost_ratio("dearest", "cheapest").mean == pytest.approx(3.0)
    assert found.difference("oracle", "random").mean == pytest.approx(0.375)


def test_a_budget_holds_on_the_training_side_and_about_on_the_test_side(log: OutcomeLog) -> None:
    def half(train: Table) -> float:
        assert train.spend_NE is not None
        return 0.5 * float(train.spend_NE[:, 2].mean())

    found = crossval([Spy(0.3)], log, seeds=(0, 1), rules=(as_fitted(), within(half, "at half", "")))
    ratio = found.cost_ratio("spy at half", "dearest")
    assert 0.3 < ratio.mean <= 0.52
    assert found.evaluation.row("spy at half").accuracy.mean > found.evaluation.row("best single").accuracy.mean


def test_a_budget_below_the_cheapest_takes_the_cheapest(log: OutcomeLog) -> None:
    found = crossval([Spy()], log, seeds=(0,), rules=(within(lambda train: 0.0, "for nothing", ""),))
    assert found.evaluation.rows[0].share["sums"] == 1.0


def test_within_a_budget_one_expert_is_asked_unless_choosing_gains(log: OutcomeLog) -> None:
    def enough(train: Table) -> float:
        assert train.spend_NE is not None
        return float(train.spend_NE.mean(axis=0).max())

    class Lost(Spy):
        """Estimates that have nothing to do with the truth."""

        def __call__(self, log: OutcomeLog, train_I: np.ndarray, test_I: np.ndarray, seed: int) -> Estimates:
            told = super().__call__(log, train_I, test_I, seed)
            rng = np.random.default_rng(seed)
            shape, asked = told.train_quality_NE.shape, told.test_quality_NE.shape
            return replace(told, train_quality_NE=rng.random(shape), test_quality_NE=rng.random(asked))

    rules = (within(enough, "at most", ""),)
    lost = crossval([Lost()], log, seeds=(0,), rules=rules).evaluation
    assert lost.row("spy at most").accuracy.mean == lost.row("best single").accuracy.mean
    told = crossval([Spy(0.3)], log, seeds=(0,), rules=rules).evaluation
    assert told.row("spy at most").accuracy.mean > told.row("best single").accuracy.mean


def test_a_budget_without_costs_is_refused(make_log: Make) -> None:
    unpriced = make_log(60, priced=False)
    with pytest.raises(LogError, match="needs costs"):
        crossval([Spy()], unpriced, seeds=(0,), rules=(within(lambda train: 1.0, "", ""),))


def test_a_log_without_costs_still_gets_its_figures(make_log: Make) -> None:
    evaluation = crossval([Spy()], make_log(60, priced=False), seeds=(0,)).evaluation
    assert evaluation.rows[0].cost is None
    assert evaluation.rows[0].aiq is None
    assert evaluation.curve == ()
    assert "cheapest" not in {row.name for row in evaluation.rows}
    assert any("no costs" in remark for remark in evaluation.remarks)


def test_queries_that_were_never_tested_do_not_count(log: OutcomeLog) -> None:
    splits = few_labels(Table.of(log), 100, seeds=(0,))
    found = study([Spy()], log, splits)
    assert np.isnan(found.measured["spy"].value_N[splits[0].train_I]).all()
    tested = log.matrix()[splits[0].test_I].max(axis=1).mean()
    assert found.evaluation.rows[0].accuracy.mean == pytest.approx(tested)
    assert sum(found.evaluation.rows[0].share.values()) == pytest.approx(1.0)


def test_aiq_of_the_truth_beats_that_of_noise_and_of_a_coin_between_experts(log: OutcomeLog) -> None:
    truth = crossval([Spy()], log, seeds=(0,)).evaluation
    noisy = crossval([Spy(5.0)], log, seeds=(0,)).evaluation
    assert truth.rows[0].aiq is not None
    assert noisy.rows[0].aiq is not None
    assert truth.aiq_singles is not None
    assert truth.rows[0].aiq > max(noisy.rows[0].aiq, truth.aiq_singles)


def test_one_split_alone_has_no_interval_of_aiq(log: OutcomeLog) -> None:
    table = Table.of(log)
    alone = study([Spy()], log, few_labels(table, 100, seeds=(0,))).aiq_gain("spy")
    assert alone.mean > 0
    assert np.isnan([alone.low, alone.high]).all()
    five = study([Spy()], log, folds(table, seeds=(0,)))
    gain_F = five.measured["spy"].aiq_gain_F
    interval = five.aiq_gain("spy")
    assert interval.high - interval.mean == pytest.approx(1.96 * np.sqrt(gain_F.var(ddof=1) / 5))


def test_few_groups_make_fewer_folds_and_one_is_refused(make_log: Make) -> None:
    found = crossval([Spy()], make_log(3), seeds=(0,))
    assert found.evaluation.protocol.startswith("3-fold")
    twins = OutcomeLog.from_arrays(["the same question"] * 4, ["a", "b"], [[1, 0]] * 4)
    with pytest.raises(LogError, match="4 queries in one group of near-duplicates"):
        crossval([Spy()], twins)


def test_the_same_seed_gives_the_same_figures(log: OutcomeLog) -> None:
    first, second = (crossval([Spy(1.0)], log, seeds=(3,)).evaluation.to_dict() for _ in range(2))
    assert first == second


def test_rules_see_both_sides(log: OutcomeLog) -> None:
    def choose(estimates: Estimates, train: Table, test: Table) -> np.ndarray:
        assert len(estimates.train_quality_NE) == len(train)
        return np.full(len(test), int(train.value_NE.mean(axis=0).argmax()))

    found = crossval([Spy()], log, seeds=(0,), rules=(Rule("constant", "", choose),))
    assert found.difference("spy constant", "best single").mean == 0.0


def test_progress_is_told_per_split(log: OutcomeLog) -> None:
    told: list[tuple[int, int]] = []
    crossval([Spy()], log, k=3, seeds=(0,), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_figures_do_not_depend_on_the_number_of_processes(log: OutcomeLog) -> None:
    methods = [Recipe(registry.create("estimator", "ridge")), Fitted()]
    alone, shared = (crossval(methods, log, k=2, seeds=(0,), workers=workers).evaluation for workers in (1, 2))
    assert rounded(alone.to_dict()) == rounded(shared.to_dict())


def rounded(value: object) -> object:
    """Up to the last digits, which follow the number of threads of the linear algebra."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def test_the_oracle_of_a_partial_log_is_the_best_that_was_observed(make_log: Make) -> None:
    partial = make_log(200, partial=True)
    oracle = crossval([Spy()], make_log(200), seeds=(0,)).evaluation.row("oracle")
    seen = crossval([Recipe(registry.create("estimator", "constant"))], partial, seeds=(0,)).evaluation.row("oracle")
    assert seen.accuracy.mean == pytest.approx(np.nanmax(partial.matrix(), axis=1).mean())
    assert seen.accuracy.mean <= oracle.accuracy.mean


def test_a_fixed_split_keeps_near_duplicates_of_tested_queries_out(duplicated: OutcomeLog) -> None:
    table = Table.of(duplicated)
    train_N = np.arange(len(table)) < 60  # the last 20 repeat the first 20
    (split,) = fixed(table, train_N.tolist())
    assert split.test_I.tolist() == list(range(60, 80))
    assert split.train_I.tolist() == list(range(20, 60))


def test_each_part_is_held_out_once(duplicated: OutcomeLog) -> None:
    table = Table.of(duplicated)
    splits = held_out(table, ["a" if n < 30 else "b" for n in range(len(table))])
    assert [split.test_I.tolist() for split in splits] == [list(range(30)), list(range(30, 80))]
    for split in splits:
        assert not set(table.group_N[split.train_I]) & set(table.group_N[split.test_I])


def test_the_cheapest_as_good_spends_less_and_keeps_quality(make_log: Make) -> None:
    log = make_log(300)
    column = log.experts.index("big")
    rules = [cheapest_as_good(lambda train: train.value_NE[:, column], "cheap", "", c) for c in (0.0, 3.0)]
    rules[1] = Rule("careful", "", rules[1].choose)
    found = crossval([Spy(0.5)], log, seeds=(0,), rules=[as_fitted(), *rules])
    cost = {name: found.evaluation.row(name).cost for name in ("spy", "spy cheap", "spy careful")}
    assert cost["spy cheap"].mean <= cost["spy careful"].mean <= cost["spy"].mean
    assert found.evaluation.row("spy cheap").accuracy.mean >= log.matrix()[:, column].mean() - 0.05


def test_repetitions_are_kept_apart(log: OutcomeLog) -> None:
    found = crossval([Spy(0.5)], log, seeds=(3, 5))
    by_seed = found.by_seed("spy", "best single")
    assert list(by_seed) == [3, 5]
    both = [interval.mean for interval in by_seed.values()]
    assert np.mean(both) == pytest.approx(found.difference("spy", "best single").mean)
    assert both[0] != both[1]
