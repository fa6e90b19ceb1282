"""How figures are taken: every query is tested once per seed, by a method that never saw its group of near-duplicates.

Shape letters: N queries, E experts, P operating points (multipliers λ), S seeds, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.errors import LogError
from turnout.evaluation import metrics
from turnout.evaluation.baselines import BASELINES, Baseline, one_hot
from turnout.evaluation.pairs import pair_figures, pair_of
from turnout.evaluation.results import Evaluation, Measured, Point, tabulate
from turnout.evaluation.tables import Table
from turnout.features import Floats
from turnout.stats import group_folds

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

Index = NDArray[np.integer[Any]]
POINTS = 24


@dataclass(frozen=True)
class Estimates:
    """What a fitted method says: cross-fitted on the training side, plainly on the test side; and what it would do.

    Costs are US dollars per request, None where the log has none.
    """

    train_quality_NE: Floats
    test_quality_NE: Floats
    choice_N: Index
    train_cost_NE: Floats | None = None
    test_cost_NE: Floats | None = None


class Method(Protocol):
    """Something that can be fitted on the training rows of a log and asked about the test rows."""

    name: str
    note: str

    def __call__(self, log: OutcomeLog, train_I: Index, test_I: Index, seed: int) -> Estimates:
        """Fit on `train_I`, estimate on both sides."""
        ...


@dataclass(frozen=True)
class Rule:
    """A way to choose from estimates; shown as its own row `<method> <suffix>`."""

    suffix: str
    note: str
    choose: Callable[[Estimates, Table, Table], Index]


def as_fitted() -> Rule:
    """What the method does by itself: its policy, and its guard where it has one."""
    return Rule("", "", lambda estimates, train, test: estimates.choice_N)  # noqa: ARG005 - a rule sees both sides


def within(budget: Callable[[Table], float], suffix: str, note: str) -> Rule:
    """Best quality where the training side's cross-fitted choices spend at most `budget(train)` dollars a request."""

    def choose(estimates: Estimates, train: Table, test: Table) -> Index:  # noqa: ARG001 - a rule sees both sides
        if estimates.train_cost_NE is None or estimates.test_cost_NE is None or train.spend_NE is None:
            raise LogError("a budget needs costs, and this log has none")
        lambdas = metrics.lambda_grid(estimates.train_quality_NE, estimates.train_cost_NE, 200)
        choice_NP = metrics.sweep(estimates.train_quality_NE, estimates.train_cost_NE, lambdas)
        spend_P = np.take_along_axis(train.spend_NE, choice_NP, axis=1).mean(axis=0)
        affordable = np.flatnonzero(spend_P <= budget(train))
        p = int(affordable[0]) if len(affordable) else len(lambdas) - 1
        return metrics.sweep(estimates.test_quality_NE, estimates.test_cost_NE, lambdas[p : p + 1])[:, 0]

    return Rule(suffix, note, choose)


@dataclass
class _Tally:
    """Sums over seeds of one row."""

    note: str
    value_N: Floats
    spend_N: Floats
    share_E: Floats
    aiq: list[float] = field(default_factory=list)
    predicted: list[Floats] = field(default_factory=list)
    scored: list[Floats] = field(default_factory=list)


@dataclass
class _Run:
    """Everything gathered over folds and seeds."""

    log: OutcomeLog
    table: Table
    methods: Sequence[Method]
    rules: Sequence[Rule]
    baselines: Sequence[Baseline]
    rows: dict[str, _Tally] = field(default_factory=dict)
    curve_P2: Floats = field(default_factory=lambda: np.zeros((POINTS, 2)))
    wishes: dict[str, dict[int, Floats]] = field(default_factory=dict)
    aiq_singles: list[float] = field(default_factory=list)

    def add(self, name: str, note: str, test_I: Index, share_NE: Floats) -> _Tally:
        """Record chances on the test rows."""
        n, experts = self.table.score_NE.shape
        row = self.rows.setdefault(name, _Tally(note, np.zeros(n), np.zeros(n), np.zeros(experts)))
        row.value_N[test_I] += (share_NE * self.table.value_NE[test_I]).sum(axis=1)
        if self.table.spend_NE is not None:
            row.spend_N[test_I] += (share_NE * self.table.spend_NE[test_I]).sum(axis=1)
        row.share_E += share_NE.sum(axis=0)
        return row


def crossval(
    methods: Sequence[Method],
    log: OutcomeLog,
    *,
    folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    rules: Sequence[Rule] | None = None,
    baselines: Sequence[Baseline] = BASELINES,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate methods beside the baselines, each query tested once per seed, near-duplicates together.

    The first method is the subject: plots and calibration are its own. `progress(done, total)` is called per fold.
    """
    run = _Run(log, Table.of(log), methods, rules or (as_fitted(),), baselines)
    total, done = len(seeds) * folds, 0
    for seed in seeds:
        fold_N = group_folds(run.table.group_N, folds, seed)
        for fold in range(folds):
            _one_fold(run, np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold), seed)
            done += 1
            if progress:
                progress(done, total)
    return _evaluation(run, len(seeds), folds)


def _one_fold(run: _Run, train_I: Index, test_I: Index, seed: int) -> None:
    train, test = run.table.rows(train_I), run.table.rows(test_I)
    for place, method in enumerate(run.methods):
        estimates = method(run.log, train_I, test_I, seed)
        for rule in run.rules:
            choice_N = rule.choose(estimates, train, test)
            name = f"{method.name} {rule.suffix}".strip()
            row = run.add(name, rule.note or method.note, test_I, one_hot(choice_N, len(run.table.experts)))
            row.predicted.append(metrics.chosen(estimates.test_quality_NE, choice_N))
            row.scored.append(metrics.chosen(test.score_NE, choice_N))
        run.rows[f"{method.name} {run.rules[0].suffix}".strip()].aiq.append(
            _curve(run, estimates, train, test, place == 0)
        )
        weak, strong = pair_of(run.table)
        wish_N = run.wishes.setdefault(method.name, {}).setdefault(seed, np.zeros(len(run.table)))
        wish_N[test_I] = estimates.test_quality_NE[:, strong] - estimates.test_quality_NE[:, weak]
    for baseline in run.baselines:
        share_NE = baseline.choose(train, test)
        if share_NE is None:
            continue
        row = run.add(baseline.name, baseline.note, test_I, share_NE)
        if test.spend_NE is not None:
            point = np.array([[(share_NE * m).sum(axis=1).mean()] for m in (test.spend_NE, test.value_NE)])
            row.aiq.append(metrics.area(point[0], point[1], *_cost_range(train)))
    if test.spend_NE is not None and train.spend_NE is not None:
        vertices = metrics.hull(train.spend_NE.mean(axis=0), train.value_NE.mean(axis=0))
        ends = (test.spend_NE.mean(axis=0), test.value_NE.mean(axis=0))
        run.aiq_singles.append(metrics.aiq(*ends, *_cost_range(train), vertices=vertices))


def _curve(run: _Run, estimates: Estimates, train: Table, test: Table, keep: bool) -> float:
    """AIQ of one fold: multipliers and hull vertices from the training side, area on the test side."""
    if estimates.train_cost_NE is None or estimates.test_cost_NE is None or train.spend_NE is None:
        return float("nan")
    assert test.spend_NE is not None
    lambdas = metrics.lambda_grid(estimates.train_quality_NE, estimates.train_cost_NE, POINTS)
    lambdas = np.resize(lambdas, POINTS)  # a grid of one point (no trade at all) fills the line
    trained_NP = metrics.sweep(estimates.train_quality_NE, estimates.train_cost_NE, lambdas)
    tested_NP = metrics.sweep(estimates.test_quality_NE, estimates.test_cost_NE, lambdas)
    at = [np.take_along_axis(m, trained_NP, axis=1).mean(axis=0) for m in (train.spend_NE, train.value_NE)]
    spend_NP, value_NP = (np.take_along_axis(m, tested_NP, axis=1) for m in (test.spend_NE, test.value_NE))
    if keep:
        run.curve_P2 += np.stack([spend_NP.sum(axis=0), value_NP.sum(axis=0)], axis=1)
    low, high = _cost_range(train)
    return metrics.aiq(spend_NP.mean(axis=0), value_NP.mean(axis=0), low, high, vertices=metrics.hull(at[0], at[1]))


def _cost_range(train: Table) -> tuple[float, float]:
    assert train.spend_NE is not None
    mean_E = train.spend_NE.mean(axis=0)
    return float(mean_E.min()), float(mean_E.max())


def _evaluation(run: _Run, seeds: int, folds: int) -> Evaluation:
    table, first = run.table, run.methods[0]
    measured = [_measured(name, row, len(table) * seeds, seeds, table) for name, row in run.rows.items()]
    subject = next(iter(run.rows.values()))
    return Evaluation(
        title="",
        subject=first.name,
        facts=facts(table),
        protocol=(
            f"{folds}-fold cross-validation by groups of near-duplicates, repeated for {seeds} seed"
            f"{'s' if seeds > 1 else ''}; every query is tested once per seed. 95 % intervals: paired cluster "
            "bootstrap over the groups. λ and hull vertices are fixed on the training side."
        ),
        rows=tabulate(measured, table.group_N, table.experts),
        curve=_points(run.curve_P2 / (len(table) * seeds)),
        singles=_singles(table),
        calibration=tuple(metrics.reliability(np.concatenate(subject.predicted), np.concatenate(subject.scored))),
        pair=pair_figures(table, {name: list(by_seed.values()) for name, by_seed in run.wishes.items()}),
        aiq_singles=float(np.mean(run.aiq_singles)) if run.aiq_singles else None,
        remarks=_remarks(table),
    )


def _measured(name: str, row: _Tally, weight: float, seeds: int, table: Table) -> Measured:
    bins = metrics.reliability(np.concatenate(row.predicted), np.concatenate(row.scored)) if row.predicted else []
    aiq = float(np.mean(row.aiq)) if row.aiq else float("nan")
    return Measured(
        name=name,
        note=row.note,
        value_N=row.value_N / seeds,
        spend_N=None if table.spend_NE is None else row.spend_N / seeds,
        share_E=row.share_E / weight,
        aiq=aiq if np.isfinite(aiq) else None,
        ece=metrics.calibration_error(bins) if bins else None,
    )


def _points(curve_P2: Floats) -> tuple[Point, ...]:
    if not curve_P2.any():
        return ()
    return tuple(Point("", float(spend * 1e3), float(quality)) for spend, quality in curve_P2)


def _singles(table: Table) -> tuple[Point, ...]:
    if table.spend_NE is None:
        return ()
    means = zip(table.experts, table.spend_NE.mean(axis=0), table.value_NE.mean(axis=0), strict=True)
    return tuple(Point(name, float(spend * 1e3), float(quality)) for name, spend, quality in means)


def facts(table: Table) -> dict[str, Any]:
    """Sizes of a log that a reader needs to judge the figures."""
    sizes = np.unique(table.group_N, return_counts=True)[1]
    return {
        "queries": len(table),
        "experts": len(table.experts),
        "observed": float(np.isfinite(table.score_NE).mean()),
        "groups": len(sizes),
        "largest_group": int(sizes.max()),
        "tasks": len(set(table.tasks)) if table.tasks else None,
    }


def _remarks(table: Table) -> tuple[str, ...]:
    remarks = []
    if not table.full:
        remarks.append(
            "The log is partial: figures are doubly robust estimates (unobserved outcomes weighted by the chance of "
            "being observed), and the oracle sees observed outcomes only, so it is no ceiling."
        )
    if table.spend_NE is None:
        remarks.append("The log has no costs: cost, AIQ and the cheapest and dearest baselines are left out.")
    if table.tasks is None:
        remarks.append("The log has no task names: the task table is left out.")
    return tuple(remarks)
