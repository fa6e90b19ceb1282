"""How a bandit's arms are measured on a uniform log: fitted offline and valued off-policy, and learning by replay.

Shape letters: N queries, E arms, D context, I some rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.evaluation import datasets
from turnout.evaluation.baselines import BASELINES
from turnout.evaluation.tables import Table
from turnout.features import FeatureMap, Floats, take
from turnout.stats import Interval, bootstrap_mean, group_folds, paired_bootstrap
from turnout.systems.base import Figures, Run, System

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

FOLDS, INNER = 5, 3
CLUSTERS, RIDGES = (4, 8, 16, 32), (0.05, 1.0)
Chooser = Callable[[NDArray[np.intp], NDArray[np.intp]], Floats]  # training and test rows -> chances (I, E)


def measured(system: System, run: Run) -> Figures:
    """The system beside its published features, baselines, and the three explorers learning on the fly."""
    log, rewards = datasets.load("greenserv", run.data), datasets.greenserv_rewards(run.data)
    table = Table.of(log)
    learned_NE = aligned(rewards, log)
    own = system.build()["estimator"]
    published = registry.create("estimator", "linear_arms", on=("embedding",), clusters=3)
    features = {n: registry.create("signal", n).fit(log.texts).transform(log.texts) for n in own.signals}
    uniform_NE = log.matrix()
    choosers = {
        system.title: tuned(own, features, learned_NE, table),
        f"{own.clusters} clusters, ridge {own.ridge:g}": fitted(own, features, learned_NE),
        "the same, from the uniform log alone": fitted(own, features, uniform_NE),
        "published features: task predicted, 3 clusters": fitted(published, features, learned_NE, table.tasks),
        **{b.name: _baseline(table, b.choose) for b in BASELINES if b.name in ("random", "best single", "task table")},
    }
    found = {name: crossed(table, chooser, run) for name, chooser in choosers.items()}
    single_N = found["best single"]
    replays = {
        f"learning online, {rule} (replay)": replayed(
            own.clone(explore=rule, amount=amount), features, table, run.seeds
        )
        for rule, amount in (("ucb", 0.1), ("thompson", 0.25), ("greedy", 0.1))
    }
    rows: list[Mapping[str, str | float | None]] = [
        _row(
            name,
            bootstrap_mean(value_N, table.group_N, seed=0),
            paired_bootstrap(value_N - single_N, table.group_N, seed=0),
        )
        for name, value_N in found.items()
    ]
    rows += [_row(name, value, None) for name, value in replays.items()]
    value_N = found[system.title]
    return Figures(
        table=run.table,
        protocol=(
            f"{FOLDS}-fold cross-validation by groups of queries, {len(run.seeds)} seeds; the numbers of clusters and "
            f"the ridge ({len(CLUSTERS) * len(RIDGES)} pairs) chosen in {INNER} folds of each training side; learned "
            "from every logged reward of the training side, valued doubly robust on the uniform log of the test side, "
            "intervals over queries; replay accepts the logged decisions that the learner would have made itself (Li "
            "et al., 2011)"
        ),
        metric="reward",
        value=bootstrap_mean(value_N, table.group_N, seed=0),
        gain=paired_bootstrap(value_N - single_N, table.group_N, seed=0),
        against="best single",
        rows=rows,
    )


def aligned(rewards: OutcomeLog, log: OutcomeLog) -> Floats:
    """One log's scores in the rows and columns of another, NaN where it has none."""
    row = {id: n for n, id in enumerate(rewards.query_ids)}
    column = {name: e for e, name in enumerate(rewards.experts)}
    return rewards.matrix()[np.ix_([row[id] for id in log.query_ids], [column[name] for name in log.experts])]


def fitted(estimator: Any, features: FeatureMap, scores_NE: Floats, tasks: Sequence[str] | None = None) -> Chooser:
    """The arm with the best estimate; task names are seen in training only."""

    def choose(train_I: NDArray[np.intp], test_I: NDArray[np.intp]) -> Floats:
        names = None if tasks is None else [tasks[n] for n in train_I]
        made = estimator.clone().fit(take(features, train_I), scores_NE[train_I], tasks=names)
        mean_IE = made.predict(take(features, test_I))[0]
        return np.asarray(np.eye(mean_IE.shape[1])[mean_IE.argmax(axis=1)])

    return choose


def tuned(arms: Any, features: FeatureMap, scores_NE: Floats, table: Table) -> Chooser:
    """`fitted`, with clusters and ridge that are worth most within the training side: the test side has no say."""
    settings = [arms.clone(clusters=clusters, ridge=ridge) for clusters in CLUSTERS for ridge in RIDGES]

    def worth(chooser: Chooser, train_I: NDArray[np.intp]) -> float:
        side_I = np.unique(table.group_N[train_I], return_inverse=True)[1]
        fold_I = group_folds(side_I, INNER, seed=0)
        total = 0.0
        for fold in range(INNER):
            fit_I, ask_I = train_I[fold_I != fold], train_I[fold_I == fold]
            total += float((chooser(fit_I, ask_I) * table.value_NE[ask_I]).sum())
        return total

    def choose(train_I: NDArray[np.intp], test_I: NDArray[np.intp]) -> Floats:
        choosers = [fitted(setting, features, scores_NE) for setting in settings]
        return max(choosers, key=lambda chooser: worth(chooser, train_I))(train_I, test_I)

    return choose


def crossed(table: Table, chooser: Chooser, run: Run) -> Floats:
    """The doubly robust value of what is chosen for each query by those who never saw it, over seeds: (N,)."""
    value_N = np.zeros(len(table))
    for seed in run.seeds:
        fold_N = group_folds(table.group_N, FOLDS, seed)
        for fold in range(FOLDS):
            train_I, test_I = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
            value_N[test_I] += (chooser(train_I, test_I) * table.value_NE[test_I]).sum(axis=1)
    return value_N / len(run.seeds)


def replayed(arms: Any, features: FeatureMap, table: Table, seeds: Sequence[int]) -> Interval:
    """Mean reward of accepted decisions while learning from them, over the log in several random orders.

    The interval is over orders of one log, not over queries.
    """
    row_R, column_R = np.nonzero(np.isfinite(table.score_NE))
    means = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        learner = arms.clone().cold(features, len(table.experts))
        x_ND = learner.context(features)
        rewards = []
        for r in rng.permutation(len(row_R)):
            n, e = int(row_R[r]), int(column_R[r])
            if int(learner.scores(x_ND[n : n + 1], rng)[0].argmax()) == e:
                rewards.append(float(table.score_NE[n, e]))
                learner.learn(x_ND[n], e, rewards[-1])
        means.append(float(np.mean(rewards)))
    return bootstrap_mean(np.array(means), seed=0)


def _baseline(table: Table, choose: Callable[[Table, Table], Floats | None]) -> Chooser:
    def chances(train_I: NDArray[np.intp], test_I: NDArray[np.intp]) -> Floats:
        found = choose(table.rows(train_I), table.rows(test_I))
        assert found is not None
        return found

    return chances


def _row(name: str, value: Interval, gain: Interval | None) -> dict[str, str | float | None]:
    return {
        "name": name,
        "reward": value.mean,
        "low": value.low,
        "high": value.high,
        "gain over best single": None if gain is None else gain.mean,
        "gain low": None if gain is None else gain.low,
    }
