"""How systems that turn confidence into a mode are measured: by replay of logged answers, cuts fitted on other queries.

A mode's answer is put together from answers that were logged: one expert's, or a vote. Its cost is that of every call
made on the way, the ones that a signal needed included.

Shape letters: N queries, E experts, M modes, S statistics, K experts in order of trust.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.errors import LogError
from turnout.evaluation import datasets
from turnout.features import Floats, take
from turnout.modes import final_answer, hindsight, vote
from turnout.modes.threshold_modes import ThresholdModes
from turnout.stats import Interval, bootstrap_mean, group_folds, paired_bootstrap
from turnout.systems.base import Figures, Run, System

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

FOLDS = 5
BLIND = "random, as often"
SMALL, MIDDLE, LARGE = "smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Answers:
    """Logged answers in a form that can be compared, on the queries where every named expert answered."""

    experts: tuple[str, ...]
    log: OutcomeLog
    answer_NE: list[list[str]]
    score_NE: Floats
    tokens_NE: Floats
    cost_NE: Floats
    certainty_NE: Floats
    group_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.score_NE)

    def at(self, expert: str) -> int:
        """An expert's column."""
        return self.experts.index(expert)

    def texts(self, n: int, experts: Sequence[str]) -> list[str]:
        """The answers of some experts to one query."""
        return [self.answer_NE[n][self.at(expert)] for expert in experts]


@dataclass(frozen=True)
class Played:
    """What one mode scored, and whom it called, on every query."""

    score_N: Floats
    called_NE: NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """A system's statistics, shape (N, S), and its modes as they were played, learned from some rows only."""

    statistic_NS: Floats
    played: Sequence[Played]


Play = Callable[[Answers, Rows, int], Scene]  # answers, training rows, seed


def read(log: OutcomeLog, experts: Sequence[str]) -> Answers:
    """The queries that all experts answered. Raises LogError where responses are missing."""
    if not log.has("response"):
        raise LogError("the log has no responses; modes are replayed on logged answers")
    log = log.only(experts)
    whole_N = np.isfinite(log.matrix()).all(axis=1)
    log = log.select(whole_N)
    row = {id: n for n, id in enumerate(log.query_ids)}
    answer_NE = [[""] * len(experts) for _ in row]
    for id, expert, text in log.outcomes.select("query_id", "expert", "response").iter_rows():
        answer_NE[row[id]][experts.index(expert)] = final_answer(text or "")
    blank_NE = np.full((len(log), len(experts)), np.nan)
    return Answers(
        experts=tuple(experts),
        log=log,
        answer_NE=answer_NE,
        score_NE=log.matrix(),
        tokens_NE=log.matrix("completion_tokens") if log.has("completion_tokens") else blank_NE,
        cost_NE=log.matrix("cost") if log.has("cost") else blank_NE,
        certainty_NE=np.exp(log.matrix("mean_logprob")) if log.has("mean_logprob") else blank_NE,
        group_N=np.asarray(log.groups(), dtype=np.int64),
    )


def one(answers: Answers, expert: str, *, beside: Sequence[str] = ()) -> Played:
    """One expert's answer; `beside` were called for a signal and pay too."""
    return Played(answers.score_NE[:, answers.at(expert)], _called(answers, (expert, *beside)))


def voted(answers: Answers, experts: Sequence[str] | Sequence[Sequence[str]], *, beside: Sequence[str] = ()) -> Played:
    """The commonest answer, ties to who stands first; the experts may differ by query.

    Its score is the mean score of those who gave it, since one answer may be written in two ways.
    """
    score_N = np.zeros(len(answers))
    called_NE = np.zeros(answers.score_NE.shape, dtype=bool)
    for n in range(len(answers)):
        named: Sequence[str] = experts if isinstance(experts[0], str) else experts[n]  # type: ignore[assignment]
        texts = answers.texts(n, named)
        winner = vote(texts)
        columns = [answers.at(name) for name, text in zip(named, texts, strict=True) if text == winner]
        score_N[n] = float(answers.score_NE[n, columns].mean())
        called_NE[n, [answers.at(name) for name in (*named, *beside)]] = True
    return Played(score_N, called_NE)


def picked(answers: Answers, experts: Sequence[str]) -> Played:
    """One expert per query."""
    column_N, rows = np.array([answers.at(name) for name in experts]), np.arange(len(answers))
    called_NE = np.zeros(answers.score_NE.shape, dtype=bool)
    called_NE[rows, column_N] = True
    return Played(answers.score_NE[rows, column_N], called_NE)


def predicted(
    answers: Answers, scores_NE: Floats, train_I: Rows, on: tuple[str, ...] = ("embedding", "format")
) -> Floats:
    """What a ridge regression on the prompts, fitted on the training rows, expects of every column, (N, E)."""
    ridge = registry.create("estimator", "ridge", on=on)
    texts = answers.log.texts
    signals = {name: registry.create("signal", name).fit([texts[n] for n in train_I]) for name in on}
    features = {name: signal.transform(texts) for name, signal in signals.items()}
    mean_NE: Floats = ridge.fit(take(features, train_I), scores_NE[train_I]).predict(features)[0]
    return mean_NE


def _called(answers: Answers, experts: Sequence[str]) -> NDArray[np.bool_]:
    called_NE = np.zeros(answers.score_NE.shape, dtype=bool)
    called_NE[:, [answers.at(name) for name in experts]] = True
    return called_NE


@dataclass(frozen=True)
class Variant:
    """Another rule over some of the same statistics and modes, by their numbers."""

    mode: ThresholdModes
    statistics: tuple[int, ...]
    played: tuple[int, ...]


@dataclass(frozen=True)
class Show:
    """What is played, and what is shown beside it. `share` places the budget of a fit: how far from the cheapest mode's
    mean cost to the dearest's."""

    experts: tuple[str, ...]
    play: Play
    share: float = 0.5
    variants: Mapping[str, Variant] = field(default_factory=dict)
    more: Callable[[Run], Sequence[Mapping[str, str | float | None]]] | None = None


@dataclass
class _Tally:
    """Sums over seeds per query: score, calls, completion tokens, cost."""

    sums_4N: Floats

    def add(self, test_I: Rows, found_4I: Floats) -> None:
        self.sums_4N[:, test_I] += found_4I


def cells(own: ThresholdModes, levels: tuple[int, ...]) -> dict[str, Variant]:
    """The same statistics and modes, each cell's mode learned."""
    free = own.clone(combine="learned", cuts=None, levels=levels)
    return {"mode of every cell learned": Variant(free, tuple(range(len(levels))), tuple(range(len(own.modes))))}


def measured(system: System, run: Run, show: Show) -> Figures:
    """Replay with cuts fitted on the other folds, beside each mode always, each expert always, random and the oracle.

    `random` goes through the system's modes as often as it does, but blindly: what is left is skill.
    """
    answers = read(datasets.load(run.table, run.data), show.experts)
    own: ThresholdModes = system.build()["mode"]
    every = Variant(own, tuple(range(len(own.statistics))), tuple(range(len(own.modes))))
    rules = {system.title: every, **show.variants}
    tallies: dict[str, _Tally] = defaultdict(lambda: _Tally(np.zeros((4, len(answers)))))
    for seed in run.seeds:
        fold_N = group_folds(answers.group_N, FOLDS, seed)
        for fold in range(FOLDS):
            train_I, test_I = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
            scene = show.play(answers, train_I, seed)
            sheet = _Sheet.of(answers, scene)
            for name, rule in rules.items():
                chosen_I = _chosen(rule, scene, sheet, show.share, (train_I, test_I))
                tallies[name].add(test_I, sheet.at(test_I, chosen_I))
                if rule is every:
                    tallies[BLIND].add(test_I, sheet.blindly(test_I, chosen_I))
            for m, label in enumerate(own.modes):
                tallies[f"always {label}"].add(test_I, sheet.at(test_I, np.full(len(test_I), m)))
            tallies["oracle of the modes"].add(test_I, sheet.at(test_I, sheet.best(test_I)))
    for e, expert in enumerate(show.experts):
        alone_4N = np.stack(
            [answers.score_NE[:, e], np.ones(len(answers)), answers.tokens_NE[:, e], answers.cost_NE[:, e]]
        )
        tallies[f"only {expert}"].add(np.arange(len(answers)), alone_4N * len(run.seeds))
    return _figures(system, run, answers, tallies, show.more(run) if show.more else ())


def _chosen(rule: Variant, scene: Scene, sheet: _Sheet, share: float, rows: tuple[Rows, Rows]) -> Rows:
    """The modes of the test rows, as numbers of all modes; cuts that are not given are fitted on the training rows."""
    train_I, test_I = rows
    statistic_NS, played = scene.statistic_NS[:, rule.statistics], np.array(rule.played)
    cost_NM, score_NM = sheet.sheet_4NM[3][:, played], sheet.sheet_4NM[0][:, played]
    budget = _between(cost_NM[train_I].mean(axis=0), share)
    fitted = rule.mode.clone(budget=budget).fit(statistic_NS[train_I], score_NM[train_I], cost_NM[train_I])
    return np.asarray(played[fitted.choose(statistic_NS[test_I])])


@dataclass(frozen=True)
class _Sheet:
    """Score, calls, tokens and cost of every mode on every query, (4, N, M)."""

    sheet_4NM: Floats

    @classmethod
    def of(cls, answers: Answers, scene: Scene) -> _Sheet:
        columns = []
        for played in scene.played:
            spent = [np.where(played.called_NE, values_NE, 0.0).sum(axis=1)
                     for values_NE in (np.ones_like(answers.score_NE), answers.tokens_NE, answers.cost_NE)]  # fmt: skip
            columns.append(np.stack([played.score_N, *spent]))
        return cls(np.stack(columns, axis=2))

    def at(self, test_I: Rows, mode_I: Rows) -> Floats:
        """What the chosen modes did, (4, I)."""
        return np.asarray(self.sheet_4NM[:, test_I, mode_I])

    def blindly(self, test_I: Rows, mode_I: Rows) -> Floats:
        """The expectation over modes drawn as often as they were chosen, whatever the query, (4, I)."""
        share_M = np.bincount(mode_I, minlength=self.sheet_4NM.shape[2]) / len(mode_I)
        return np.asarray(self.sheet_4NM[:, test_I] @ share_M)

    def best(self, test_I: Rows) -> Rows:
        """The cheapest of the modes that scored best."""
        return hindsight(self.sheet_4NM[0, test_I], self.sheet_4NM[3, test_I])


def _between(mean_M: Floats, share: float) -> float:
    return float(mean_M.min() + share * (mean_M.max() - mean_M.min()))


def _figures(
    system: System,
    run: Run,
    answers: Answers,
    tallies: Mapping[str, _Tally],
    more: Sequence[Mapping[str, str | float | None]],
) -> Figures:
    seeds = len(run.seeds)

    def row(name: str, tally: _Tally) -> dict[str, str | float | None]:
        value = bootstrap_mean(tally.sums_4N[0] / seeds, answers.group_N, seed=0)
        return accuracy_row(name, value, *(float(sums_N.mean() / seeds) for sums_N in tally.sums_4N[1:]))

    own_N, blind_N = tallies[system.title].sums_4N[0], tallies[BLIND].sums_4N[0]
    return Figures(
        table=run.table,
        protocol=(
            f"replay of logged answers on {len(answers)} queries that all {len(answers.experts)} arms answered; cuts "
            f"(and models behind statistics) from the other folds of {FOLDS}, {seeds} seeds, near-duplicates together; "
            "tokens are completion tokens of every call made, cost is nominal (parameters x tokens)"
        ),
        metric="accuracy",
        value=bootstrap_mean(own_N / seeds, answers.group_N, seed=0),
        gain=paired_bootstrap((own_N - blind_N) / seeds, answers.group_N, seed=0),
        against="modes drawn at random as often",
        rows=[*(row(name, tally) for name, tally in tallies.items()), *more],
    )


def accuracy_row(
    name: str, value: Interval, calls: float | None = None, tokens: float | None = None, cost: float | None = None
) -> dict[str, Any]:
    """One line of the table."""
    spent = {"calls": calls, "tokens": tokens, "nominal cost": cost}
    return {"name": name, "accuracy": value.mean, "low": value.low, "high": value.high, **spent}
