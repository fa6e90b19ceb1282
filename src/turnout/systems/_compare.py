"""Estimators compared on arrays of features and scores, where a system is no router over a log's texts.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.errors import LogError
from turnout.estimators.base import Estimator
from turnout.evaluation import metrics
from turnout.features import FeatureMap, Features, Floats, take
from turnout.stats import Interval, bootstrap_mean, group_folds, near_duplicates, paired_bootstrap

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

Index = NDArray[np.intp]
FOLDS = 5


@dataclass(frozen=True)
class Arena:
    """Queries with features, full scores, task names, and groups of near-duplicates that stay on one side."""

    features: FeatureMap
    score_NE: Floats
    tasks: Sequence[str]
    group_N: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str], features: FeatureMap, score_NE: Floats, tasks: Sequence[str]) -> Arena:
        """Groups are found among the texts. Raises LogError where a score is missing."""
        if not np.isfinite(score_NE).all():
            raise LogError("this measurement needs a score of every expert on every query; use a full table")
        return cls(features, score_NE, tasks, near_duplicates(list(texts)))

    @classmethod
    def of_log(cls, log: OutcomeLog, features: FeatureMap) -> Arena:
        """A full log. Raises LogError."""
        return cls.of(log.texts, features, log.matrix(), log.tasks or [""] * len(log))

    def splits(self, seeds: Sequence[int]) -> list[tuple[Index, Index]]:
        """Training and test rows: five folds for each seed."""
        parts = [(group_folds(self.group_N, FOLDS, seed), fold) for seed in seeds for fold in range(FOLDS)]
        return [(np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)) for fold_N, fold in parts]

    def without_each_task(self) -> list[tuple[Index, Index]]:
        """Every task left out of training once."""
        code_N = np.unique(np.asarray(self.tasks), return_inverse=True)[1]
        codes = range(int(code_N.max()) + 1)
        return [(np.flatnonzero(code_N != code), np.flatnonzero(code_N == code)) for code in codes]

    def routed(self, estimator: Estimator, splits: Sequence[tuple[Index, Index]]) -> Floats:
        """What the estimator's choices earn, mean over the times a query is tested, (N,)."""

        def choose(train_I: Index, test_I: Index) -> Index:
            fitted = estimator.clone().fit(
                take(self.features, train_I), self.score_NE[train_I], tasks=[self.tasks[i] for i in train_I.tolist()]
            )
            return np.asarray(fitted.predict(take(self.features, test_I))[0].argmax(axis=1), dtype=np.intp)

        return self.chosen(choose, splits)

    def chosen(self, choose: Callable[[Index, Index], Index], splits: Sequence[tuple[Index, Index]]) -> Floats:
        """What a rule's choices earn."""
        return self.replayed([(test_I, choose(train_I, test_I)) for train_I, test_I in splits])

    def replayed(self, tests: Sequence[tuple[Index, Index]]) -> Floats:
        """What choices made on test rows earn, mean over the times a query is tested, (N,)."""
        total_N, times_N = np.zeros(len(self.score_NE)), np.zeros(len(self.score_NE))
        for test_I, chosen_I in tests:
            total_N[test_I] += metrics.chosen(self.score_NE[test_I], chosen_I)
            times_N[test_I] += 1
        return total_N / np.maximum(times_N, 1)

    def baselines(self, splits: Sequence[tuple[Index, Index]]) -> dict[str, Floats]:
        """Best single expert (chosen on the training side), a table by task, random and oracle."""

        def single(train_I: Index, test_I: Index) -> Index:
            return np.full(len(test_I), self.score_NE[train_I].mean(axis=0).argmax())

        def table(train_I: Index, test_I: Index) -> Index:
            name_N = np.asarray(self.tasks)
            mean_E = self.score_NE[train_I].mean(axis=0)
            best = {
                name: (self.score_NE[train_I][name_N[train_I] == name].sum(axis=0) + 5 * mean_E).argmax()
                for name in set(name_N[train_I].tolist())
            }
            return np.array([best.get(name, mean_E.argmax()) for name in name_N[test_I].tolist()], dtype=np.intp)

        return {
            "best single": self.chosen(single, splits),
            "task table": self.chosen(table, splits),
            "random": self.score_NE.mean(axis=1),
            "oracle": self.score_NE.max(axis=1),
        }

    def mean(self, value_N: Floats) -> Interval:
        """With its interval over groups."""
        return bootstrap_mean(value_N, self.group_N, seed=0)

    def gain(self, value_N: Floats, other_N: Floats) -> Interval:
        """Paired difference."""
        return paired_bootstrap(value_N - other_N, self.group_N, seed=0)

    def rows(self, values: Mapping[str, Floats], metric: str, against: str) -> list[dict[str, str | float | None]]:
        """A line per rule: its mean, and its gain over one of them."""
        return [
            {
                "name": name,
                metric: float(value_N.mean()),
                f"gain over {against}": None if name == against else float((value_N - values[against]).mean()),
            }
            for name, value_N in values.items()
        ]


def costs(log: OutcomeLog) -> Floats:
    """US dollars per request, (N, E). Raises LogError where the log has none for some."""
    if not log.has("cost") or not np.isfinite(log.matrix("cost")).all():
        raise LogError("this measurement trades quality for cost, and the table lacks costs; use one that has them")
    return log.matrix("cost")


def text_features(texts: Sequence[str], names: Sequence[str]) -> dict[str, Features]:
    """Signals that learn nothing from texts, so that folds need no fit of their own."""
    return {name: registry.create("signal", name).fit(texts).transform(texts) for name in names}
