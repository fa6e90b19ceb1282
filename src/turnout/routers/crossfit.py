"""Predictions for queries whose outcomes the predictor never saw, and what routing by them would have earned.

Source: cross-fitting as in Chernozhukov et al., "Double/debiased machine learning" (2018).
Shape letters: N queries, E experts.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ParameterError
from turnout.estimators.base import Estimator
from turnout.estimators.stack import Lesson, Stack
from turnout.features import take
from turnout.policies.base import Policy
from turnout.routers.calibration import Calibration
from turnout.routers.evidence import Evidence, Values
from turnout.routers.guard import best_single
from turnout.stats.folds import group_folds

Array = NDArray[np.float64]
Columns = NDArray[np.intp]

THREADS = min(4, os.cpu_count() or 1)  # folds in work at a time; each holds its own copy of the features


@dataclass(frozen=True)
class CrossFit:
    """Held-out predictions: `raw` as estimated, `quality` calibrated on the other folds, with standard errors.

    `lesson` is what all folds teach a stack, None for other estimators.
    """

    fold_N: NDArray[np.int64]
    raw_NE: Array
    quality_NE: Array
    se_NE: Array
    calibration: Calibration
    lesson: Lesson | None = None


def cross_fit(estimator: Estimator, evidence: Evidence, folds: int, seed: int) -> CrossFit | None:
    """Folds keep near-duplicates together; None where there are too few groups for two folds."""
    groups = len(np.unique(evidence.groups_N))
    if groups < 2:
        return None
    fold_N = group_folds(evidence.groups_N, min(folds, groups), seed)
    if isinstance(estimator, Stack) and estimator.weights is None:
        return _stacked(estimator, evidence, fold_N)
    return calibrated(fold_N, *_over_folds(estimator, evidence, fold_N), evidence)


def _stacked(stack: Stack, evidence: Evidence, fold_N: NDArray[np.int64]) -> CrossFit:
    """The members are held out one by one; each fold takes what the others teach."""
    said_M2NE = np.stack([_over_folds(member, evidence, fold_N) for member in stack.members])
    scores_NE, weights_NE = evidence.scores_NE, evidence.weights_NE
    raw_NE, se_NE = np.empty_like(scores_NE), np.empty_like(scores_NE)
    for fold in range(int(fold_N.max()) + 1):
        test_N = fold_N == fold
        lesson = stack.learn(said_M2NE[:, 0, ~test_N], scores_NE[~test_N], weights_NE[~test_N])
        raw_NE[test_N], se_NE[test_N] = lesson.combined(said_M2NE[:, :, test_N])
    lesson = stack.learn(said_M2NE[:, 0], scores_NE, weights_NE)
    return replace(calibrated(fold_N, raw_NE, se_NE, evidence), lesson=lesson)


def _over_folds(estimator: Estimator, evidence: Evidence, fold_N: NDArray[np.int64]) -> tuple[Array, Array]:
    from threadpoolctl import threadpool_limits

    raw_NE, se_NE = np.empty_like(evidence.scores_NE), np.empty_like(evidence.scores_NE)

    def hold_out(fold: int) -> None:
        test_N = fold_N == fold
        raw_NE[test_N], se_NE[test_N] = held_out(estimator, evidence, np.flatnonzero(~test_N), np.flatnonzero(test_N))

    # a core for each fold in work: products of sparse rows and eigenvalues let go of the interpreter
    with threadpool_limits(1), ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(hold_out, range(int(fold_N.max()) + 1)))
    return raw_NE, se_NE


def calibrated(fold_N: NDArray[np.int64], raw_NE: Array, se_NE: Array, evidence: Evidence) -> CrossFit:
    """Held-out predictions with each fold calibrated on the others."""
    scores_NE, weights_NE = evidence.scores_NE, evidence.weights_NE
    quality_NE, calibrated_se_NE = np.empty_like(raw_NE), np.empty_like(se_NE)
    for fold in range(int(fold_N.max()) + 1):
        test_N = fold_N == fold
        calibration = Calibration.fit(raw_NE[~test_N], scores_NE[~test_N], weights_NE[~test_N])
        quality_NE[test_N], calibrated_se_NE[test_N] = calibration.apply(raw_NE[test_N], se_NE[test_N])
    return CrossFit(fold_N, raw_NE, quality_NE, calibrated_se_NE, Calibration.fit(raw_NE, scores_NE, weights_NE))


def held_out(estimator: Estimator, evidence: Evidence, train: Columns, test: Columns) -> tuple[Array, Array]:
    """Mean and standard error on the rows `test` by a copy fitted on the rows `train`, each (rows, E)."""
    scores_NE = evidence.scores_NE[train]
    seen_E = np.atleast_1d(np.isfinite(scores_NE).any(axis=0))  # a rare expert may have no outcome on this side
    tasks = None if evidence.tasks is None else [evidence.tasks[n] for n in train]
    fitted = estimator.clone().fit(
        take(evidence.features, train),
        scores_NE[:, seen_E],
        weights_NE=evidence.weights_NE[train][:, seen_E],
        tasks=tasks,
    )
    mean_NE, se_NE = fitted.predict(take(evidence.features, test))
    raw_NE = np.full((len(test), len(seen_E)), float(np.nanmean(scores_NE)))
    raw_se_NE = np.full_like(raw_NE, 0.5)
    raw_NE[:, seen_E], raw_se_NE[:, seen_E] = mean_NE, se_NE
    return raw_NE, raw_se_NE


def replay(
    policy: Policy, found: CrossFit, cost_NE: Array, evidence: Evidence, values: Values
) -> tuple[Columns, Columns]:
    """The policy's choice and the best single expert on each query, both learned on the other folds; shapes (N,)."""
    choice_N = np.empty(len(cost_NE), dtype=np.intp)
    baseline_N = np.empty_like(choice_N)
    for fold in range(int(found.fold_N.max()) + 1):
        test_N = found.fold_N == fold
        learned = _on_other_folds(policy, found.quality_NE[~test_N], cost_NE[~test_N])
        choice_N[test_N] = learned.choose(found.quality_NE[test_N], cost_NE[test_N])
        averages = evidence.averages(~test_N, values.cost_NE)
        baseline_N[test_N] = best_single(learned, *averages, evidence.observed[~test_N])
    return choice_N, baseline_N


def _on_other_folds(policy: Policy, quality_NE: Array, cost_NE: Array) -> Policy:
    try:
        return policy.clone().fit(quality_NE, cost_NE)
    except ParameterError:  # a budget that just holds on the whole log may be out of reach without one fold
        return policy
