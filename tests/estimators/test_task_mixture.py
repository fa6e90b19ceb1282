"""Task means mixed by a classifier of tasks."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.estimators.task_mixture import TaskMixture
from turnout.features import Sparse

RNG = np.random.default_rng(0)
SIDE_N = RNG.integers(0, 2, 300)
FEATURES = {"x": np.stack([SIDE_N * 2.0 - 1.0 + 0.3 * RNG.normal(size=300), RNG.normal(size=300)], axis=1)}
TASKS = ["sums" if side else "names" for side in SIDE_N]
SCORES_NE = (RNG.random((300, 2)) < np.stack([0.2 + 0.6 * SIDE_N, 0.8 - 0.6 * SIDE_N], axis=1)).astype(float)
CLEAR = {"x": np.array([[1.2, 0.0], [-1.2, 0.0]])}


def test_a_clear_query_gets_its_tasks_means():
    fitted = TaskMixture(on=("x",)).fit(FEATURES, SCORES_NE, tasks=TASKS)
    assert fitted.tasks_ == ("names", "sums")
    means_NE = np.stack([SCORES_NE[side == SIDE_N].mean(axis=0) for side in (1, 0)])
    assert fitted.predict(CLEAR)[0] == pytest.approx(means_NE, abs=0.08)


def test_chances_sum_to_one_and_doubt_widens_the_error():
    fitted = TaskMixture(on=("x",)).fit(FEATURES, SCORES_NE, tasks=TASKS)
    assert fitted.chances(FEATURES).sum(axis=1) == pytest.approx(np.ones(300))
    between = {"x": np.zeros((1, 2))}
    assert (fitted.predict(between)[1] > 2 * fitted.predict(CLEAR)[1].max()).all()


def test_chances_are_the_classifiers_predictions_on_words_too():
    words = Sparse(np.arange(301), SIDE_N.astype(np.int32), np.ones(300, dtype=np.float32), 2)
    features = {**FEATURES, "words": words}
    fitted = TaskMixture(on=("x", "words")).fit(features, SCORES_NE, tasks=TASKS)
    chance_NT = fitted.classifier_.predict(features)[0]
    assert fitted.chances(features) == pytest.approx(chance_NT / chance_NT.sum(axis=1, keepdims=True), rel=1e-5)
    assert (fitted.chances(features).argmax(axis=1) == SIDE_N).mean() > 0.99


def test_without_task_names_it_is_the_constant_estimator():
    fitted = TaskMixture(on=("x",)).fit(FEATURES, SCORES_NE)
    assert np.ptp(fitted.predict(FEATURES)[0], axis=0) == pytest.approx(np.zeros(2))
    assert fitted.classifier_ is None


def test_a_newcomer_learns_its_tasks_without_their_names():
    fitted = TaskMixture(on=("x",)).fit(FEATURES, SCORES_NE, tasks=TASKS)
    fitted.add_expert(FEATURES, SIDE_N.astype(float))
    sums, names = fitted.predict(CLEAR)[0][:, 2]
    assert sums > 0.85
    assert names < 0.15
