"""Category classifier: rejection, cells, and a table that changes without the classifier."""

from __future__ import annotations

from typing import Any

import numpy as np

from turnout.estimators.category import Category

CENTERS = {"x": np.eye(3, dtype=np.float32) * 4}


def test_each_category_gets_its_own_scores(clusters: Any) -> None:
    x_ND, scores_NE, tasks = clusters(900)
    mean_NE, se_NE = Category(on=("x",)).fit({"x": x_ND}, scores_NE, tasks=tasks).predict(CENTERS)
    truth_NE = np.where(np.eye(3) > 0, 0.9, 0.3)
    assert np.abs(mean_NE - truth_NE).max() < 0.08
    assert (np.abs(mean_NE - truth_NE) < 3.5 * se_NE).all()


def test_a_query_between_categories_is_general(clusters: Any) -> None:
    x_ND, scores_NE, tasks = clusters(900)
    made = Category(on=("x",), reject=0.5, prior=0.0).fit({"x": x_ND}, scores_NE, tasks=tasks)
    between = {"x": np.full((1, 3), 4 / 3, np.float32)}
    assert made.cells({"x": np.concatenate([CENTERS["x"], between["x"]])}).tolist() == [0, 1, 2, 3]
    assert np.allclose(made.predict(between)[0], scores_NE.mean(axis=0))


def test_reject_of_one_rejects_nothing(clusters: Any) -> None:
    x_ND, scores_NE, tasks = clusters(300)
    made = Category(on=("x",), reject=1.0).fit({"x": x_ND}, scores_NE, tasks=tasks)
    assert made.cells({"x": np.zeros((4, 3), np.float32)}).max() < 3


def test_two_categories_are_told_apart_like_more() -> None:
    x_N1 = np.concatenate([np.full(50, -1.0), np.full(50, 1.0)])[:, None]
    made = Category(on=("x",)).fit({"x": x_N1}, np.ones((100, 1)), tasks=["low"] * 50 + ["up"] * 50)
    assert made.cells({"x": np.array([[-1.0], [1.0]])}).tolist() == [0, 1]


def test_a_swapped_expert_leaves_the_classifier_alone(clusters: Any) -> None:
    x_ND, scores_NE, tasks = clusters(900)
    made = Category(on=("x",)).fit({"x": x_ND}, scores_NE[:, :2], tasks=tasks)
    weight_DC = made.weight_DC_.copy()
    made.remove_expert(0).add_expert({"x": x_ND}, scores_NE[:, 2])
    assert np.array_equal(weight_DC, made.weight_DC_)
    assert made.predict(CENTERS)[0].argmax(axis=1).tolist()[1:] == [0, 1]
