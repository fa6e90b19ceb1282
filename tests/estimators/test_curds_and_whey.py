"""What the experts' means say of each other, by itself and within a stack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout import registry
from turnout.estimators._curds_and_whey import WIDEST, CurdsAndWhey
from turnout.estimators.constant import Constant
from turnout.estimators.ridge import Ridge
from turnout.estimators.stack import Stack
from turnout.state import pack, unpack

TURN_FE = np.array([[0.7, 0.2, 0.0], [0.3, 0.8, 0.0], [0.0, 0.0, 0.6]])
SHIFT_E = np.array([0.0, -0.05, 0.2])


def _turned(rows: int, seed: int = 0) -> tuple[Any, Any]:
    """Held-out means, and scores that another mixture of them expects."""
    rng = np.random.default_rng(seed)
    held_NE = rng.uniform(0.1, 0.9, size=(rows, 3))
    return held_NE, held_NE @ TURN_FE + SHIFT_E + rng.normal(scale=0.1, size=(rows, 3))


def _learned(rows: int, pull: float = 1e-3, weights: float = 1.0) -> CurdsAndWhey:
    held_NE, scores_NE = _turned(rows)
    found = CurdsAndWhey.learn(held_NE, scores_NE, np.full((rows, 3), weights), pull)
    assert found is not None
    return found


def test_a_linear_map_across_experts_is_found() -> None:
    found = _learned(4000)
    assert np.abs(found.share_FE - TURN_FE).max() < 0.03
    assert np.abs(found.shift_E - SHIFT_E).max() < 0.03


def test_a_longer_log_moves_further_from_each_experts_own() -> None:
    moved = [np.abs(_learned(rows, pull=40.0).share_FE - np.eye(3)).sum() for rows in (30, 300, 3000)]
    assert 0 < moved[0] < 0.2 < moved[1] < moved[2]
    own = _learned(300, pull=1e9)
    assert own.share_FE == pytest.approx(np.eye(3), abs=1e-6)
    assert own.shift_E == pytest.approx(0.0, abs=1e-6)


def test_weights_count_by_how_they_differ_and_not_by_their_size() -> None:
    assert _learned(200, pull=40.0, weights=10.0).share_FE == pytest.approx(_learned(200, pull=40.0).share_FE)


def test_scores_that_are_missing_and_means_that_nobody_gave_are_left_out() -> None:
    held_NE, scores_NE = _turned(400)
    weights_NE = np.ones_like(scores_NE)
    held_NE[:100, 1], weights_NE[100:200, 2], scores_NE[100:200, 2] = np.nan, 0.0, np.nan
    found = CurdsAndWhey.learn(held_NE, scores_NE, weights_NE, 1.0)
    assert found is not None
    rest = CurdsAndWhey.learn(held_NE[200:], scores_NE[200:], weights_NE[200:], 1.0)
    assert rest is not None
    assert found.share_FE[:, 2] == pytest.approx(rest.share_FE[:, 2], abs=0.02)
    assert np.abs(found.share_FE - TURN_FE).max() < 0.15


def test_an_expert_without_outcomes_keeps_its_own_mean() -> None:
    held_NE, scores_NE = _turned(50)
    weights_NE = np.ones_like(scores_NE) * [1.0, 1.0, 0.0]
    found = CurdsAndWhey.learn(held_NE, np.where(weights_NE > 0, scores_NE, np.nan), weights_NE, 1.0)
    assert found is not None
    assert found.share_FE[:, 2].tolist() == [0.0, 0.0, 1.0]
    assert found.shift_E[2] == 0.0


def test_one_expert_many_experts_and_no_means_are_left_as_they_are() -> None:
    for held_NE in (np.full((9, 1), 0.5), np.full((9, WIDEST + 1), 0.5), np.full((9, 2), np.nan)):
        assert CurdsAndWhey.learn(held_NE, np.ones_like(held_NE), np.ones_like(held_NE), 1.0) is None


def _fitted(across: float = 1.0) -> tuple[Stack, Any, Any]:
    x_ND = np.random.default_rng(1).normal(size=(300, 2))
    scores_NE = np.clip(0.5 + 0.2 * np.stack([x_ND[:, 0], x_ND[:, 1], x_ND.sum(axis=1)], axis=1), 0, 1)
    return Stack((Constant(), Ridge(on=("x",))), across=across).fit({"x": x_ND}, scores_NE), {"x": x_ND}, scores_NE


def test_experts_that_join_or_leave_a_stack_touch_nobody_else() -> None:
    stack, features, scores_NE = _fitted()
    assert stack.across_ is not None
    assert np.abs(stack.across_[0] - np.eye(3)).max() > 0.01
    before_NE, before_se_NE = stack.predict(features)
    stack.add_expert(features, scores_NE[:, 2])
    assert stack.predict(features)[0][:, :3] == pytest.approx(before_NE)
    stack.remove_expert(0)
    mean_NE, se_NE = stack.predict(features)
    assert mean_NE.shape == (300, 3)
    assert mean_NE[:, :2] == pytest.approx(before_NE[:, 1:])
    assert se_NE[:, :2] == pytest.approx(before_se_NE[:, 1:])


def test_a_stack_takes_what_it_is_taught_through_copies_and_files() -> None:
    stack, features, scores_NE = _fitted()
    lesson = stack.learn(np.stack([scores_NE, scores_NE[:, ::-1]]), scores_NE, np.ones_like(scores_NE))
    taught = Stack(stack.members)
    taught.teach(lesson)
    copy = taught.clone().fit(features, scores_NE)
    assert copy.weight_M_.tolist() == lesson.weight_M.tolist()
    assert copy.across_ is not None
    assert lesson.across is not None
    assert np.array_equal(copy.across_[0], lesson.across.share_FE)
    assert taught.signals == ("x",)
    arrays: dict[str, Any] = {}
    again = unpack(pack(copy, arrays), arrays)
    assert np.array_equal(again.predict(features)[0], copy.predict(features)[0])
    again.add_expert(features, scores_NE[:, 0])
    assert again.predict(features)[0].shape == (300, 4)


def test_weights_alone_leave_the_means_as_they_are() -> None:
    _, features, scores_NE = _fitted()
    stack = registry.create("estimator", "stack", members=(Ridge(on=("x",)), Constant()), weights=(1.0, 0.0))
    assert stack.fit(features, scores_NE).across_ is None
    alone_NE, alone_se_NE = Ridge(on=("x",)).fit(features, scores_NE).predict(features)
    assert stack.predict(features)[0] == pytest.approx(alone_NE)
    assert stack.predict(features)[1] == pytest.approx(alone_se_NE)


def test_errors_of_independent_means_add_by_their_squares() -> None:
    found = CurdsAndWhey(np.array([[0.8, 0.3], [0.4, 0.6]]), np.array([0.1, -0.1]))
    mean_NE, variance_NE = found.apply(np.array([[0.5, 0.25]]), np.array([[0.04, 0.01]]))
    assert mean_NE[0] == pytest.approx([0.6, 0.2])
    assert variance_NE[0] == pytest.approx([0.64 * 0.04 + 0.16 * 0.01, 0.09 * 0.04 + 0.36 * 0.01])
