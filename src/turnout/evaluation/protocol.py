"""How figures are taken: every query is tested once per seed, by a method that never saw its group of near-duplicates.

Shape letters: N queries, E experts, P operating points (multipliers λ), S seeds, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from turnout.errors import LogError
from turnout.evaluation import _parallel, metrics
from turnout.evaluation.baselines import BASELINES, Baseline, one_hot
from turnout.evaluation.pairs import pair_figures, pair_of
from turnout.evaluation.results import CEILING, DRAWS, Evaluation, Measured, Point, tabulate
from turnout.evaluation.tables import Table
from turnout.features import Floats
from turnout.stats import Interval, bootstrap_counts, group_folds, paired_bootstrap

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
    """Best quality where the training side's cross-fitted choices spend at most `budget(train)` dollars a request.

    The spend's standard error is added before it is held against the budget, so that a small log is more careful. The
    best expert that alone keeps within the budget is asked instead unless the choices gain over it, on the training
    side, by more than a standard error: of two that are about as good the simpler one (Breiman et al., 1984).
    """

    def choose(estimates: Estimates, train: Table, test: Table) -> Index:
        if estimates.train_cost_NE is None or estimates.test_cost_NE is None or train.spend_NE is None:
            raise LogError("a budget needs costs, and this log has none")
        quality_NE, cost_NE, limit = estimates.train_quality_NE, estimates.train_cost_NE, budget(train)
        lam = _least_affordable(quality_NE, cost_NE, train.spend_NE, limit)
        alone_E = np.where(train.spend_NE.mean(axis=0) <= limit, train.value_NE.mean(axis=0), -np.inf)
        single = int(alone_E.argmax())
        if np.isfinite(alone_E[single]):
            worth_N = metrics.chosen(train.value_NE, _best_at(lam, quality_NE, cost_NE))
            gain_N = worth_N - train.value_NE[:, single]
            if gain_N.mean() <= gain_N.std() / np.sqrt(len(train)):
                return np.full(len(test), single)
        return _best_at(lam, estimates.test_quality_NE, estimates.test_cost_NE)

    return Rule(suffix, note, choose)


def _least_affordable(quality_NE: Floats, cost_NE: Floats, spend_NE: Floats, limit: float) -> float:
    """The least λ at which the choices spend `limit` with a standard error to spare; inf where none does."""

    def careful(lambdas: Floats) -> Floats:
        spend_NP = np.take_along_axis(spend_NE, metrics.sweep(quality_NE, cost_NE, lambdas), axis=1)
        return np.asarray(spend_NP.mean(axis=0) + spend_NP.std(axis=0) / np.sqrt(len(spend_NE)))

    lambdas = metrics.lambda_grid(quality_NE, cost_NE, 200)
    affordable = np.flatnonzero(careful(lambdas) <= limit)
    if not len(affordable):
        return float("inf")
    p = int(affordable[0])
    low, high = (float(lambdas[p - 1]), float(lambdas[p])) if p else (0.0, float(lambdas[0]))
    for _ in range(20):  # the grid is coarse; what is affordable should be spent
        middle = 0.5 * (low + high)
        low, high = (low, middle) if careful(np.array([middle]))[0] <= limit else (middle, high)
    return high


def _best_at(lam: float, quality_NE: Floats, cost_NE: Floats) -> Index:
    """The choice at one multiplier; at inf cost alone counts."""
    if np.isinf(lam):
        return np.asarray(cost_NE.argmin(axis=1))
    return metrics.sweep(quality_NE, cost_NE, np.array([lam]))[:, 0]


def cheapest_as_good(rival: Callable[[Table], Floats], suffix: str, note: str, careful: float = 0.0) -> Rule:
    """Least cost where the training side's cross-fitted choices are worth what `rival(train)` is, shape (N,).

    `careful` standard errors of the paired difference are held back. Where no multiplier is good enough, cost does not
    count.
    """

    def choose(estimates: Estimates, train: Table, test: Table) -> Index:  # noqa: ARG001 - a rule sees both sides
        if estimates.train_cost_NE is None or estimates.test_cost_NE is None:
            raise LogError("the cheapest choice needs costs, and this log has none")
        quality_NE, cost_NE = estimates.train_quality_NE, estimates.train_cost_NE
        lambdas = metrics.lambda_grid(quality_NE, cost_NE, 200)
        value_NP = np.take_along_axis(train.value_NE, metrics.sweep(quality_NE, cost_NE, lambdas), axis=1)
        gain_NP = value_NP - rival(train)[:, None]
        good = np.flatnonzero(gain_NP.mean(axis=0) >= careful * gain_NP.std(axis=0) / np.sqrt(len(train)))
        lam = float(lambdas[good[-1]]) if len(good) else 0.0
        return _best_at(lam, estimates.test_quality_NE, estimates.test_cost_NE)

    return Rule(suffix, note, choose)


@dataclass(frozen=True)
class Split:
    """Training and test rows of one repetition; a repetition may have several splits (folds), told by `seed`."""

    seed: int
    train_I: Index
    test_I: Index


def folds(table: Table, k: int = 5, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> list[Split]:
    """k-fold cross-validation, repeated: every query is tested once per seed, near-duplicates together."""
    splits = []
    for seed in seeds:
        fold_N = group_folds(table.group_N, k, seed)
        splits += [Split(seed, np.flatnonzero(fold_N != f), np.flatnonzero(fold_N == f)) for f in range(k)]
    return splits


def whole_groups(table: Table) -> int:
    """How many groups of near-duplicates there are. Raises LogError for one alone, which cannot be cut into folds."""
    groups = len(np.unique(table.group_N))
    if groups < 2:
        raise LogError(
            f"{len(table)} queries in one group of near-duplicates: cross-validation needs queries that differ"
        )
    return groups


def few_labels(table: Table, labels: int, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> list[Split]:
    """About `labels` queries drawn at random to learn from, all others to test; near-duplicates together."""
    splits = []
    for seed in seeds:
        size_G = np.bincount(table.group_N)
        order_G = np.random.default_rng(seed).permutation(len(size_G))
        taken_G = order_G[np.cumsum(size_G[order_G]) <= labels]
        train_N = np.isin(table.group_N, taken_G)
        splits.append(Split(seed, np.flatnonzero(train_N), np.flatnonzero(~train_N)))
    return splits


def shares(table: Table, part: float, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> list[Split]:
    """About `part` of the queries drawn at random to learn from, the others to test; near-duplicates together."""
    return few_labels(table, round(part * len(table)), seeds)


def held_out(table: Table, part_N: Sequence[str], seeds: Sequence[int] = (0,)) -> list[Split]:
    """One split per part, named for each query: the part is tested by what the others taught.

    Training queries that are near-duplicates of tested ones are left out.
    """
    splits = []
    for seed in seeds:
        for part in dict.fromkeys(part_N):
            inside_N = np.array([name == part for name in part_N])
            splits.append(Split(seed, _apart(table, ~inside_N, inside_N), np.flatnonzero(inside_N)))
    return splits


def fixed(table: Table, train_N: Sequence[bool], seeds: Sequence[int] = (0,)) -> list[Split]:
    """The data's own split. Training queries that are near-duplicates of tested ones are left out."""
    inside_N = np.asarray(train_N, dtype=bool)
    return [Split(seed, _apart(table, inside_N, ~inside_N), np.flatnonzero(~inside_N)) for seed in seeds]


def _apart(table: Table, train_N: NDArray[np.bool_], test_N: NDArray[np.bool_]) -> Index:
    return np.flatnonzero(train_N & ~np.isin(table.group_N, table.group_N[test_N]))


@dataclass
class _Tally:
    """Sums of one row over repetitions."""

    note: str
    value_N: Floats
    spend_N: Floats
    share_E: Floats
    seed_value_SN: dict[int, Floats] = field(default_factory=dict)
    aiq: list[float] = field(default_factory=list)
    predicted: list[Floats] = field(default_factory=list)
    scored: list[Floats] = field(default_factory=list)


@dataclass
class _Run:
    """Everything gathered over splits. `tested` counts how often each query was tested."""

    table: Table
    methods: Sequence[Method]
    rules: Sequence[Rule]
    baselines: Sequence[Baseline]
    tested_N: Floats
    rows: dict[str, _Tally] = field(default_factory=dict)
    curve_P2: Floats = field(default_factory=lambda: np.zeros((POINTS, 2)))
    wishes: dict[str, dict[int, Floats]] = field(default_factory=dict)
    aiq_singles: list[float] = field(default_factory=list)

    def add(self, name: str, note: str, split: Split, share_NE: Floats, *, raw: bool = False) -> _Tally:
        """Record chances on the test rows; `raw` takes outcomes as observed, for a choice that looked at them."""
        test_I = split.test_I
        n, experts = self.table.score_NE.shape
        row = self.rows.setdefault(name, _Tally(note, np.zeros(n), np.zeros(n), np.zeros(experts)))
        value_NE, spend_NE = self.table.value_NE, self.table.spend_NE
        if raw and not self.table.full:
            value_NE = np.nan_to_num(self.table.score_NE)
            spend_NE = None if self.table.cost_NE is None else np.nan_to_num(self.table.cost_NE)
        value_I = (share_NE * value_NE[test_I]).sum(axis=1)
        row.value_N[test_I] += value_I
        row.seed_value_SN.setdefault(split.seed, np.full(n, np.nan))[test_I] = value_I
        if spend_NE is not None:
            row.spend_N[test_I] += (share_NE * spend_NE[test_I]).sum(axis=1)
        row.share_E += share_NE.sum(axis=0)
        return row


@dataclass(frozen=True)
class Study:
    """An evaluation with the outcomes per query behind it, for comparisons that the table does not make."""

    evaluation: Evaluation
    measured: Mapping[str, Measured]
    table: Table

    def difference(self, better: str, worse: str, rows_I: Index | None = None) -> Interval:
        """Paired difference in score of two rows of the table, on all queries or on some."""
        difference_N = self.measured[better].value_N - self.measured[worse].value_N
        rows_I = np.arange(len(difference_N)) if rows_I is None else rows_I
        return paired_bootstrap(difference_N[rows_I], self.table.group_N[rows_I], seed=0, draws=DRAWS)

    def by_seed(self, better: str, worse: str) -> dict[int, Interval]:
        """`difference` within each repetition."""
        pairs = self.measured[better].seed_value_SN, self.measured[worse].seed_value_SN
        return {
            seed: paired_bootstrap(pairs[0][seed] - pairs[1][seed], self.table.group_N, seed=0, draws=DRAWS)
            for seed in pairs[0]
        }

    def aiq_gain(self, name: str) -> Interval:
        """AIQ above a coin between single experts (the zero router): mean over splits, ± 1.96 standard errors.

        Repetitions share queries, so only the splits of one repetition count as independent. NaN without costs; one
        split has no interval.
        """
        gain_F = self.measured[name].aiq_gain_F
        if not len(gain_F):
            return Interval(float("nan"), float("nan"), float("nan"))
        folds = max(len(gain_F) // max(len(self.measured[name].seed_value_SN), 1), 1)
        error = 1.96 * float(gain_F.std(ddof=1)) / np.sqrt(folds) if len(gain_F) > 1 else float("nan")
        return Interval(float(gain_F.mean()), float(gain_F.mean() - error), float(gain_F.mean() + error))

    def cost_ratio(self, row: str, other: str) -> Interval:
        """Spend of one row as a part of another's. Raises LogError where the log has no costs."""
        spend_N, base_N = self.measured[row].spend_N, self.measured[other].spend_N
        if spend_N is None or base_N is None:
            raise LogError("a cost ratio needs costs, and this log has none")
        seen_N = np.isfinite(spend_N) & np.isfinite(base_N)
        spend_N, base_N = spend_N[seen_N], base_N[seen_N]
        draws = [float(c @ spend_N / (c @ base_N)) for c in bootstrap_counts(self.table.group_N[seen_N], seed=0)]
        low, high = np.quantile(draws, [0.025, 0.975])
        return Interval(float(spend_N.sum() / base_N.sum()), float(low), float(high))


def study(
    methods: Sequence[Method],
    log: OutcomeLog,
    splits: Sequence[Split],
    *,
    protocol: str = "",
    rules: Sequence[Rule] | None = None,
    baselines: Sequence[Baseline] = BASELINES,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Study:
    """Measure methods and baselines on the same splits.

    The first method is the subject: plots and calibration are its own. `progress(done, total)` is called per split.
    `workers` processes share the fits (None: as many as suit the machine and the work); figures do not depend on it.
    """
    table = Table.of(log)
    run = _Run(table, methods, rules or (as_fitted(),), baselines, np.zeros(len(table)))
    workers = _parallel.automatic(log, splits) if workers is None else workers
    answers = _parallel.estimates(methods, log, splits, workers)
    for done, (split, said) in enumerate(zip(splits, answers, strict=True), start=1):
        run.tested_N[split.test_I] += 1
        _one_split(run, split, said)
        if progress:
            progress(done, len(splits))
    return _study(run, protocol, splits)


def crossval(
    methods: Sequence[Method],
    log: OutcomeLog,
    *,
    k: int = 5,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    rules: Sequence[Rule] | None = None,
    baselines: Sequence[Baseline] = BASELINES,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Study:
    """`study` by k-fold cross-validation, repeated for each seed; with fewer groups than folds, a fold each.

    Raises LogError for a log of one group of near-duplicates.
    """
    table = Table.of(log)
    k = min(k, whole_groups(table))
    protocol = (
        f"{k}-fold cross-validation by groups of near-duplicates, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}: "
        "every query is tested once per seed"
    )
    return study(
        methods,
        log,
        folds(table, k, seeds),
        protocol=protocol,
        rules=rules,
        baselines=baselines,
        progress=progress,
        workers=workers,
    )


def _one_split(run: _Run, split: Split, said: Sequence[Estimates]) -> None:
    train, test, test_I = run.table.rows(split.train_I), run.table.rows(split.test_I), split.test_I
    for place, (method, estimates) in enumerate(zip(run.methods, said, strict=True)):
        for rule in run.rules:
            choice_N = rule.choose(estimates, train, test)
            name = f"{method.name} {rule.suffix}".strip()
            row = run.add(name, rule.note or method.note, split, one_hot(choice_N, len(run.table.experts)))
            row.predicted.append(metrics.chosen(estimates.test_quality_NE, choice_N))
            row.scored.append(metrics.chosen(test.score_NE, choice_N))
        name = f"{method.name} {run.rules[0].suffix}".strip()
        run.rows[name].aiq.append(_curve(run, estimates, train, test, place == 0))
        weak, strong = pair_of(run.table)
        wish_N = run.wishes.setdefault(method.name, {}).setdefault(split.seed, np.zeros(len(run.table)))
        wish_N[test_I] = estimates.test_quality_NE[:, strong] - estimates.test_quality_NE[:, weak]
    _baselines(run, train, test, split)


def _baselines(run: _Run, train: Table, test: Table, split: Split) -> None:
    for baseline in run.baselines:
        share_NE = baseline.choose(train, test)
        if share_NE is None:
            continue
        run.add(baseline.name, baseline.note, split, share_NE, raw=baseline.name == CEILING)
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


def _study(run: _Run, protocol: str, splits: Sequence[Split]) -> Study:
    table = run.table
    measured = [_measured(run, name, row) for name, row in run.rows.items()]
    subject = next(iter(run.rows.values()))
    by_seed: dict[int, list[Index]] = {}
    for split in splits:
        by_seed.setdefault(split.seed, []).append(split.test_I)
    wishes = {name: list(wish.values()) for name, wish in run.wishes.items()}
    evaluation = Evaluation(
        title="",
        subject=run.methods[0].name,
        facts=facts(table),
        protocol=protocol,
        rows=tabulate(measured, table.group_N, table.experts),
        curve=_points(run.curve_P2 / run.tested_N.sum()),
        singles=_singles(table),
        calibration=tuple(metrics.reliability(np.concatenate(subject.predicted), np.concatenate(subject.scored))),
        pair=pair_figures(table, wishes, [np.concatenate(tests) for tests in by_seed.values()]),
        aiq_singles=float(np.mean(run.aiq_singles)) if run.aiq_singles and np.isfinite(run.aiq_singles).all() else None,
        remarks=_remarks(table),
    )
    return Study(evaluation, {entry.name: entry for entry in measured}, table)


def _measured(run: _Run, name: str, row: _Tally) -> Measured:
    bins = metrics.reliability(np.concatenate(row.predicted), np.concatenate(row.scored)) if row.predicted else []
    aiq = float(np.mean(row.aiq)) if row.aiq else float("nan")
    times_N = np.where(run.tested_N > 0, run.tested_N, np.nan)
    whole = np.isfinite(aiq) and len(row.aiq) == len(run.aiq_singles)
    return Measured(
        name=name,
        note=row.note,
        value_N=row.value_N / times_N,
        spend_N=None if run.table.spend_NE is None else row.spend_N / times_N,
        share_E=row.share_E / run.tested_N.sum(),
        aiq=aiq if np.isfinite(aiq) else None,
        ece=metrics.calibration_error(bins) if bins else None,
        seed_value_SN=row.seed_value_SN,
        aiq_gain_F=np.array(row.aiq) - np.array(run.aiq_singles) if whole else np.zeros(0),
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
    elif untold := [
        name
        for e, name in enumerate(table.experts)
        if table.cost_NE is not None and not np.isfinite(table.cost_NE[:, e]).any()
    ]:
        remarks.append(f"The log tells no cost of {', '.join(untold)}: where it is chosen it counts as free.")
    if table.tasks is None:
        remarks.append("The log has no task names: the task table is left out.")
    return tuple(remarks)
