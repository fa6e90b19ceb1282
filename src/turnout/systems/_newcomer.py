"""How a system that learns of a new expert from a few outcomes is measured: each of the best experts in turn is new.

Shape letters: N queries, E experts, L labelled queries.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from turnout import registry
from turnout.errors import LogError
from turnout.estimators.base import Estimator
from turnout.evaluation import datasets, metrics
from turnout.features import Floats, take
from turnout.systems._compare import Arena, Index, text_features
from turnout.systems.base import Figures, Run, System

LABELS = (20, 100)  # outcomes of the newcomer; the first is the headline
HIDDEN = 4  # the best experts by mean score: a newcomer that is never chosen shows nothing
HALF = 2  # folds per seed, of five
MEAN, ALL = "mean score only", "fitted again with all outcomes"


@dataclass
class _Sums:
    """Per query: what choices earned and the newcomer's squared error, summed over tests."""

    earned_N: Floats
    error: list[float] = field(default_factory=list)
    times_N: Floats | None = None

    def add(self, test_I: Index, earned_I: Floats, error: float | None) -> None:
        assert self.times_N is not None
        self.earned_N[test_I] += earned_I
        self.times_N[test_I] += 1
        if error is not None:
            self.error.append(error)

    @property
    def value(self) -> Floats:
        """Mean over the times a query was tested, (N,); NaN where it never was."""
        assert self.times_N is not None
        return np.where(self.times_N > 0, self.earned_N / np.maximum(self.times_N, 1), np.nan)


def newcomers(system: System, run: Run) -> Figures:
    """Fit without an expert, add it with a few outcomes, choose among all; beside kNN, a regression, and its mean."""
    log = datasets.load(run.table, run.data)
    estimator: Estimator = system.build()["estimator"]
    rivals = {
        system.name: estimator,
        "kNN": registry.create("estimator", "knn"),
        "regression": registry.create("estimator", "ridge", on=("embedding",)),
    }
    wanted = {name for rival in rivals.values() for name in rival.signals}
    arena = Arena.of_log(log, text_features(log.texts, sorted(wanted)))
    if arena.score_NE.shape[1] <= HIDDEN:
        raise LogError(f"this measurement needs more than {HIDDEN} experts, got {arena.score_NE.shape[1]}")
    sums: dict[tuple[str, int], _Sums] = {}
    splits = [split for place, split in enumerate(arena.splits(run.seeds)) if place % 5 < HALF]
    for place, split in enumerate(splits):
        _one_split(arena, rivals, sums, split, place)
        if run.tick:
            run.tick(place + 1, len(splits))
    return _figures(system, run, arena, sums)


def _one_split(
    arena: Arena,
    rivals: Mapping[str, Estimator],
    sums: dict[tuple[str, int], _Sums],
    split: tuple[Index, Index],
    seed: int,
) -> None:
    (train_I, test_I), rng = split, np.random.default_rng(seed)
    test, truth_IE = take(arena.features, test_I), arena.score_NE[test_I]
    first = next(iter(rivals))
    experts = arena.score_NE.shape[1]

    def note(name: str, labels: int, mean_IE: Floats, new: int | None, order_E: Index) -> None:
        chosen_I = order_E[mean_IE.argmax(axis=1)]
        error = None if new is None else float(((mean_IE[:, -1] - truth_IE[:, new]) ** 2).mean())
        empty = _Sums(np.zeros(len(arena.score_NE)), times_N=np.zeros(len(arena.score_NE)))
        sums.setdefault((name, labels), empty).add(test_I, metrics.chosen(truth_IE, chosen_I), error)

    whole = rivals[first].clone().fit(take(arena.features, train_I), arena.score_NE[train_I])
    note(ALL, len(train_I), whole.predict(test)[0], None, np.arange(experts))
    for new in np.argsort(-arena.score_NE[train_I].mean(axis=0), kind="stable")[:HIDDEN].tolist():
        others_E = np.delete(np.arange(experts), new)
        order_E = np.append(others_E, new)
        drawn_L = rng.permutation(train_I)[: LABELS[-1]]
        single = int(arena.score_NE[train_I][:, others_E].mean(axis=0).argmax())
        note("best single of the others", 0, np.eye(experts)[np.full(len(test_I), single)], None, order_E)
        for name, rival in rivals.items():
            fitted = rival.clone().fit(take(arena.features, train_I), arena.score_NE[train_I][:, others_E])
            for labels in LABELS:
                rows, made = drawn_L[:labels], copy.deepcopy(fitted)
                if name == first:
                    mean_I1 = np.full((len(test_I), 1), arena.score_NE[rows, new].mean())
                    note(MEAN, labels, np.hstack([made.predict(test)[0], mean_I1]), new, order_E)
                made.add_expert(take(arena.features, rows), arena.score_NE[rows, new])
                note(name, labels, made.predict(test)[0], new, order_E)


def _figures(system: System, run: Run, arena: Arena, sums: Mapping[tuple[str, int], _Sums]) -> Figures:
    value_N, base_N = sums[system.name, LABELS[0]].value, sums[MEAN, LABELS[0]].value
    return Figures(
        table=run.table,
        protocol=(
            f"each of the {HIDDEN} best experts in turn is unknown to the fit and added with {LABELS[0]} outcomes; two "
            f"folds of five for each of {len(run.seeds)} seeds"
        ),
        metric=f"accuracy with a newcomer known by {LABELS[0]} outcomes",
        value=arena.mean(value_N),
        gain=arena.gain(value_N, base_N),
        against=f"its {MEAN}",
        rows=[
            {
                "name": name,
                "outcomes of the newcomer": float(labels),
                "accuracy": float(np.nanmean(found.value)),
                "squared error of the newcomer": float(np.mean(found.error)) if found.error else None,
            }
            for (name, labels), found in sums.items()
        ],
    )
