"""Estimators that partition: prototypes, task table, length, constant; and their average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout.errors import ParameterError
from turnout.estimators._cells import cell_means, leave_one_out
from turnout.estimators._contenders import choose_by_contenders
from turnout.estimators.average import Average
from turnout.estimators.constant import Constant
from turnout.estimators.length import Length
from turnout.estimators.prototype import Prototypes
from turnout.estimators.ridge import Ridge
from turnout.estimators.task_table import TaskTable
from turnout.features import Sparse

TRUTH = np.where(np.eye(3) > 0, 0.9, 0.3)
CENTERS = {"x": np.eye(3, dtype=np.float32) * 4}


@pytest.mark.parametrize("made", [Prototypes("x"), Prototypes("x", k=3), TaskTable("x")])
def test_separate_tasks_get_their_own_scores(made: Any, clusters: Any) -> None:
    x_ND, scores_NE, tasks = clusters(900)
    fitted = made.fit({"x": x_ND}, scores_NE, tasks=tasks if isinstance(made, TaskTable) else None)
    mean_NE, se_NE = fitted.predict(CENTERS)
    assert np.abs(mean_NE - TRUTH).max() < 0.08
    assert (np.abs(mean_NE - TRUTH) < 3.5 * se_NE).all()


@pytest.mark.parametrize("made", [Prototypes("x", prior=20), TaskTable("x", prior=20)])
def test_a_small_cell_is_shrunk_to_the_experts_mean(made: Any) -> None:
    x_ND = np.repeat(np.array([[0.0], [9.0]], np.float32), [200, 1], axis=0)
    scores_N1 = np.repeat(np.array([[0.5], [1.0]]), [200, 1], axis=0)
    names = ["common"] * 200 + ["rare"]
    mean_N1, se_N1 = made.fit({"x": x_ND}, scores_N1, tasks=names).predict({"x": x_ND[[0, -1]]})
    assert mean_N1[1, 0] < 0.6
    assert se_N1[1, 0] >= se_N1[0, 0]


def test_noise_makes_prototypes_shrink_and_structure_does_not(clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(600)
    shuffled_NE = np.random.default_rng(0).permutation(scores_NE)
    structured, noisy = (Prototypes("x").fit({"x": x_ND}, s_NE).prior_ for s_NE in (scores_NE, shuffled_NE))
    assert noisy > 5 * structured


def test_more_clusters_than_distinct_queries_is_no_error() -> None:
    x_ND = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
    mean_NE, _ = Prototypes("x", k=8).fit({"x": x_ND}, x_ND.astype(float)).predict({"x": x_ND})
    assert np.isfinite(mean_NE).all()


def test_large_logs_are_clustered_on_a_sample(clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(5000)
    mean_NE, _ = Prototypes("x", k=3).fit({"x": x_ND}, scores_NE).predict(CENTERS)
    assert np.abs(mean_NE - TRUTH).max() < 0.05


def test_sparse_signals_are_refused_by_name() -> None:
    rows = Sparse(np.array([0, 1], np.int64), np.array([0], np.int32), np.array([1.0], np.float32), 1)
    with pytest.raises(TypeError, match="'x' is sparse"):
        Prototypes("x").fit({"x": rows}, np.ones((1, 1)))


def test_leave_one_out_leaves_one_out() -> None:
    random = np.random.default_rng(0)
    cell_N, scores_N1 = random.integers(3, size=30), random.uniform(size=(30, 1))
    guess_N1 = leave_one_out(cell_N, scores_N1, np.ones((30, 1)), 2.0)
    for row in range(30):
        same_N = (cell_N == cell_N[row]) & (np.arange(30) != row)
        wanted = (scores_N1[same_N].sum() + 2.0 * scores_N1.mean()) / (same_N.sum() + 2.0)
        assert guess_N1[row, 0] == pytest.approx(wanted)


def test_cells_without_a_score_hold_the_experts_mean() -> None:
    scores_NE = np.array([[1.0, np.nan], [0.0, 0.5]])
    mean_KE, se_KE = cell_means(np.array([0, 1]), scores_NE, np.isfinite(scores_NE).astype(float), 3, 1.0)
    assert mean_KE[0, 1] == mean_KE[2, 1] == pytest.approx(0.5)
    assert np.isfinite(se_KE).all()


def test_contenders_decide_not_the_hopeless() -> None:
    """A candidate that is exact on a hopeless expert and poor on the two at the top loses."""
    random = np.random.default_rng(0)
    scores_NE = np.column_stack([0.7 + 0.2 * random.normal(size=(200, 2)), random.normal(size=200) * 0.1 - 1.5])
    good_NE = scores_NE + np.array([0.0, 0.0, 0.5]) * random.normal(size=(200, 3))
    poor_NE = scores_NE + np.array([0.3, 0.3, 0.0]) * random.normal(size=(200, 3))
    assert choose_by_contenders([poor_NE, good_NE, poor_NE], scores_NE, np.ones((200, 3))) == 1


def test_one_observation_per_query_falls_back_to_squared_error() -> None:
    scores_NE = np.array([[0.5, np.nan], [np.nan, 0.5]])
    guesses = [np.full((2, 2), value) for value in (0.1, 0.4, 0.9)]
    assert choose_by_contenders(guesses, scores_NE, np.isfinite(scores_NE).astype(float)) == 1


def test_length_learns_a_curve_that_is_not_monotone() -> None:
    x_N = np.random.default_rng(0).uniform(0, 4, 3000)
    chance_N = 0.5 + 0.3 * np.sin(x_N * np.pi / 2)
    scores_N1 = (np.random.default_rng(1).uniform(size=3000) < chance_N)[:, None].astype(float)
    fitted = Length().fit({"length": np.column_stack([x_N, -x_N]).astype(np.float32)}, scores_N1)
    mean_N1, se_N1 = fitted.predict({"length": np.array([[1.0], [3.0], [99.0]], np.float32)})
    assert mean_N1[:2, 0] == pytest.approx([0.8, 0.2], abs=0.08)
    assert np.isfinite(mean_N1[2]).all()
    assert (se_N1 < 0.06).all()


def test_length_of_equal_prompts_is_the_constant() -> None:
    features = {"length": np.ones((20, 1), np.float32)}
    scores_NE = np.random.default_rng(0).uniform(size=(20, 2))
    mean_NE, _ = Length().fit(features, scores_NE).predict(features)
    constant_NE, _ = Constant().fit(features, scores_NE).predict(features)
    assert np.allclose(mean_NE, constant_NE)


def test_the_constant_is_the_weighted_mean_with_its_error() -> None:
    features, scores_N1 = {"x": np.zeros((4, 1))}, np.array([[1.0], [0.0], [1.0], [1.0]])
    mean_N1, se_N1 = Constant().fit(features, scores_N1).predict(features)
    assert mean_N1[0, 0] == 0.75
    assert se_N1[0, 0] == pytest.approx(np.sqrt(0.75 * 0.25 / 4))


def test_an_average_averages_and_doubts_where_members_disagree(clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(300)
    members = (Constant(), Prototypes("x", k=3))
    both_NE, se_NE = Average(members).fit({"x": x_ND}, scores_NE).predict(CENTERS)
    first, second = (member.clone().fit({"x": x_ND}, scores_NE).predict(CENTERS) for member in members)
    assert np.allclose(both_NE, (first[0] + second[0]) / 2)
    assert (se_NE > (first[1] + second[1]) / 2).all()


def test_a_member_that_mixes_two_models_counts_twice(clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(300)
    features = {"x": x_ND}
    mixed = Ridge(on=("x",), fewer=(("x",),))
    mean_NE, _ = Average((mixed, Constant())).fit(features, scores_NE).predict(CENTERS)
    ridge_NE, even_NE = (m.fit(features, scores_NE).predict(CENTERS)[0] for m in (mixed.clone(), Constant()))
    assert np.allclose(mean_NE, (2 * ridge_NE + even_NE) / 3, atol=1e-6)


def test_an_average_leaves_its_members_unfitted_and_checks_them() -> None:
    made = Average((Constant(), TaskTable("x")))
    made.fit({"x": np.zeros((3, 2), np.float32)}, np.ones((3, 1)))
    assert not any(member.learned() for member in made.members)
    assert made.signals == ("x",)
    with pytest.raises(ParameterError, match="`prior` must be a number"):
        Average((TaskTable(prior=-1),)).check()
    with pytest.raises(ParameterError, match="one or more of type Estimator"):
        Average(()).check()
