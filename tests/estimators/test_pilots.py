"""Pilot prototypes: tags, groups, and experts that arrive with pilots of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout.estimators.pilots import Pilots

CENTERS = {"x": np.eye(3, dtype=np.float32) * 4}


def right_one(tasks: list[str]) -> Any:
    """One expert per task is right."""
    return np.eye(3)[[int(task[-1]) for task in tasks]]


@pytest.mark.parametrize("level", ["score", "rating"])
def test_a_query_follows_the_nearest_tag(level: str, clusters: Any) -> None:
    x_ND, _, tasks = clusters(600)
    scores_NE = right_one(tasks)
    made = Pilots("x", level=level).fit({"x": x_ND}, scores_NE, tasks=tasks)
    assert made.predict(CENTERS)[0].argmax(axis=1).tolist() == [0, 1, 2]


def test_one_line_for_all_keeps_the_order_of_similarities(clusters: Any) -> None:
    x_ND, scores_NE, tasks = clusters(600)
    made = Pilots("x", level="rating").fit({"x": x_ND}, scores_NE, tasks=tasks)
    rating_NE = made._ratings(made._unit({"x": x_ND}))
    assert np.array_equal(made.predict({"x": x_ND})[0].argmax(axis=1), rating_NE.argmax(axis=1))


def test_small_groups_leave_no_pilot_and_each_task_one(clusters: Any) -> None:
    x_ND, scores_NE, tasks = clusters(1500)
    few = Pilots("x", fewest=200).fit({"x": x_ND}, scores_NE, tasks=tasks)
    assert [len(pilots_PD) for pilots_PD in few.pilots_] == [1, 1, 1]
    assert len(Pilots("x", fewest=2).fit({"x": x_ND}, scores_NE, tasks=tasks).pilots_[0]) == 3


def test_a_newcomer_that_is_better_somewhere_is_found_there(clusters: Any) -> None:
    x_ND, _, tasks = clusters(600)
    scores_NE = right_one(tasks)
    made = Pilots("x").fit({"x": x_ND}, scores_NE[:, :2], tasks=tasks)
    made.add_expert({"x": x_ND}, scores_NE[:, 2])
    assert made.predict(CENTERS)[0].argmax(axis=1).tolist() == [0, 1, 2]


def test_an_expert_that_is_never_best_is_never_near() -> None:
    x_ND = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    scores_NE = np.column_stack([np.ones(40), np.full(40, 0.5)])
    mean_NE, _ = Pilots("x").fit({"x": x_ND}, scores_NE).predict({"x": x_ND})
    assert (mean_NE[:, 0] > mean_NE[:, 1]).all()


def test_experts_that_come_one_by_one_are_told_apart_without_each_others_queries(clusters: Any) -> None:
    """Each newcomer brings only queries that it answers: one line for all keeps it from taking every query."""
    x_ND, _, tasks = clusters(600)
    scores_NE = right_one(tasks)
    first_N = scores_NE[:, 2] == 0
    made = Pilots("x", level="rating").fit({"x": x_ND[first_N]}, scores_NE[first_N, :2])
    made.add_expert({"x": x_ND[~first_N][:20]}, np.ones(20))
    assert made.predict(CENTERS)[0].argmax(axis=1).tolist() == [0, 1, 2]


def test_several_centroids_stand_for_a_group_in_several_places() -> None:
    """One expert owns two far corners, the other the middle between them: one centroid cannot say so."""
    x_ND = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]], np.float32), 20, axis=0)
    scores_NE = np.eye(2)[np.repeat([0, 0, 1], 20)]
    wrong, right = (
        Pilots("x", each=each, level="rating").fit({"x": x_ND}, scores_NE).predict({"x": x_ND})[0] for each in (1, 2)
    )
    assert (right.argmax(axis=1) == np.repeat([0, 0, 1], 20)).all()
    assert not (wrong.argmax(axis=1) == np.repeat([0, 0, 1], 20)).all()
