"""What an expert that joins later is worth after n labelled queries: added, added with caution, or all refitted.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.errors import LogError, ParameterError, UnknownNameError
from turnout.estimators.base import Estimator
from turnout.estimators.cautious import Cautious
from turnout.evaluation import metrics
from turnout.evaluation.methods import FeatureCache
from turnout.features import Features, Floats, take
from turnout.stats import Interval, group_folds, paired_bootstrap

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

LABELS = (10, 30, 100, 300, 1000)
ADDED, CAUTIOUS, REFITTED = "added", "cautious", "refitted"
CAUTION = 1.0  # standard errors


@dataclass(frozen=True)
class Point:
    """Mean score of the choices after `labels` outcomes of the newcomer, and its gain over routing without it.

    `seconds` is the median time that it took to learn the newcomer, `share` the part of queries it was given.
    """

    way: str
    labels: int
    quality: float
    gain: Interval
    share: float
    seconds: float


@dataclass(frozen=True)
class Curve:
    """One estimator's points; `without` is its quality before the newcomer, `full` with every label of it, refitted."""

    estimator: str
    newcomer: str
    without: float
    full: float
    points: tuple[Point, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "estimator": self.estimator,
            "newcomer": self.newcomer,
            "without": self.without,
            "full": self.full,
            "points": [
                {
                    "way": point.way,
                    "labels": point.labels,
                    "quality": point.quality,
                    "gain": point.gain._asdict(),
                    "share": point.share,
                    "seconds": point.seconds,
                }
                for point in self.points
            ],
        }


@dataclass
class _Tally:
    """Outcomes of one way at one number of labels, query by query over seeds."""

    value: list[Floats] = field(default_factory=list)
    chosen: list[NDArray[np.bool_]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def curves(
    log: OutcomeLog,
    newcomer: str,
    estimators: Mapping[str, Estimator],
    *,
    labels: Sequence[int] = LABELS,
    seeds: Sequence[int] = (0, 1, 2),
    clock: Callable[[], float] = time.perf_counter,
) -> list[Curve]:
    """One curve per estimator: 70 % of the queries to learn from, the others to test, near-duplicates together.

    Choices are by predicted quality alone. Raises UnknownNameError, ParameterError, and LogError for a log that is not
    a full matrix.
    """
    if not all(isinstance(count, int) and count > 0 for count in labels):
        raise ParameterError(f"`labels` must be positive integers, got {tuple(labels)!r}")
    labels = tuple(dict.fromkeys(labels))
    if newcomer not in log.experts:
        raise UnknownNameError("expert", newcomer, log.experts)
    if not log.is_full or len(log.experts) < 2:
        raise LogError("a newcomer's curve needs every expert's score on every query, and two experts")
    score_NE, column = log.matrix(), log.experts.index(newcomer)
    cache = FeatureCache(log.texts)
    tallies: dict[str, dict[tuple[str, int], _Tally]] = {name: {} for name in estimators}
    groups: list[NDArray[np.int64]] = []
    for seed in seeds:
        fold_N = group_folds(log.groups(), 10, seed)
        train_I, test_I = np.flatnonzero(fold_N > 2), np.flatnonzero(fold_N <= 2)
        groups.append(log.groups()[test_I])
        order = np.random.default_rng(seed).permutation(len(train_I))
        for name, estimator in estimators.items():
            features = _features(cache, estimator, train_I)
            case = _Case(estimator, take(features, train_I), take(features, test_I), score_NE, column, clock)
            case.run(train_I, test_I, order, labels, tallies[name])
    return [_curve(name, newcomer, found, np.concatenate(groups), labels) for name, found in tallies.items()]


@dataclass(frozen=True)
class _Case:
    estimator: Estimator
    train: Mapping[str, Features]
    test: Mapping[str, Features]
    score_NE: Floats
    column: int
    clock: Callable[[], float]

    def run(
        self,
        train_I: NDArray[np.intp],
        test_I: NDArray[np.intp],
        order: NDArray[np.intp],
        labels: Sequence[int],
        found: dict[tuple[str, int], _Tally],
    ) -> None:
        """Fit without the newcomer, then with more and more of its labels, both ways."""
        last_NE = np.column_stack([np.delete(self.score_NE, self.column, axis=1), self.score_NE[:, self.column]])
        known_NE, new_N, test_NE = last_NE[train_I, :-1], last_NE[train_I, -1], last_NE[test_I]
        base = self.estimator.clone().fit(self.train, known_NE)
        self._ask(base, found.setdefault(("without", 0), _Tally()), test_NE[:, :-1], self.clock())
        for count in [*(n for n in labels if n < len(order)), len(order)]:
            at = np.sort(order[:count])
            if count < len(order):
                grown = copy.deepcopy(base)
                start = self.clock()
                grown.add_expert(take(self.train, at), new_N[at])
                self._ask(grown, found.setdefault((ADDED, count), _Tally()), test_NE, start)
                careful = Cautious.around(copy.deepcopy(base), known_NE.shape[1], CAUTION)
                start = self.clock()
                careful.add_expert(take(self.train, at), new_N[at])
                self._ask(careful, found.setdefault((CAUTIOUS, count), _Tally()), test_NE, start)
            some_N = np.full(len(order), np.nan)
            some_N[at] = new_N[at]
            start = self.clock()
            whole = self.estimator.clone().fit(self.train, np.column_stack([known_NE, some_N]))
            key = (REFITTED, count) if count < len(order) else ("full", 0)
            self._ask(whole, found.setdefault(key, _Tally()), test_NE, start)

    def _ask(self, fitted: Estimator, tally: _Tally, test_NE: Floats, start: float) -> None:
        """Put down what the choices of a fitted estimator score; learning began at `start`."""
        tally.seconds.append(self.clock() - start)
        choice_N = fitted.predict(self.test)[0].argmax(axis=1)
        tally.value.append(metrics.chosen(test_NE, choice_N))
        tally.chosen.append(choice_N == test_NE.shape[1] - 1)


def _features(cache: FeatureCache, estimator: Estimator, train_I: NDArray[np.intp]) -> dict[str, Features]:
    wanted = estimator.signals or ("length",)
    return {name: cache.features(registry.create("signal", name), train_I) for name in wanted}


def _curve(
    name: str,
    newcomer: str,
    found: Mapping[tuple[str, int], _Tally],
    group_N: NDArray[np.int64],
    labels: Sequence[int],
) -> Curve:
    without_N = np.concatenate(found["without", 0].value)
    points = []
    for way in (ADDED, CAUTIOUS, REFITTED):
        for count in labels:
            if (way, count) not in found:
                continue
            tally = found[way, count]
            value_N = np.concatenate(tally.value)
            gain = paired_bootstrap(value_N - without_N, group_N, seed=0)
            share, seconds = float(np.concatenate(tally.chosen).mean()), float(np.median(tally.seconds))
            points.append(Point(way, count, float(value_N.mean()), gain, share, seconds))
    full = float(np.concatenate(found["full", 0].value).mean())
    return Curve(name, newcomer, float(without_N.mean()), full, tuple(points))
