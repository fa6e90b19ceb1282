"""Stacking: weights that follow what members say of queries they never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout.errors import ParameterError
from turnout.estimators.average import Average
from turnout.estimators.base import Estimator
from turnout.estimators.constant import Constant
from turnout.estimators.knn import KNN
from turnout.estimators.prototype import Prototypes
from turnout.estimators.ridge import Ridge
from turnout.estimators.stack import Stack, _least_error, _products


def _noise(rows: int, width: int = 5) -> Any:
    return np.random.default_rng(5).normal(size=(rows, width)).astype(np.float32)


def test_the_member_that_knows_gets_the_weight(linear: Any) -> None:
    x_ND, scores_NE, mean_NE = linear(400)
    features = {"x": x_ND, "noise": _noise(400)}
    members: tuple[Estimator, ...] = (KNN("noise", k=5), Ridge(on=("x",)), Prototypes("noise"))
    stack = Stack(members, even=0.0).fit(features, scores_NE)
    assert stack.weight_M_[1] > 0.9
    average = Average(members).fit(features, scores_NE)
    worse = np.abs(average.predict(features)[0] - mean_NE).mean()
    assert np.abs(stack.predict(features)[0] - mean_NE).mean() < 0.6 * worse


def test_a_member_that_remembers_its_training_rows_gains_nothing_by_it() -> None:
    weights = []
    for seed in range(5):
        scores_NE = np.random.default_rng(seed).integers(2, size=(300, 2)).astype(float)
        stack = Stack((KNN("x", k=1, prior=0), Constant()), even=0.0).fit({"x": _noise(300)}, scores_NE)
        weights.append(float(stack.weight_M_[0]))
    assert np.mean(weights) < 0.1


def test_members_that_know_different_things_share_the_weight(linear: Any) -> None:
    x_ND, scores_NE, _ = linear(600, width=6)
    features = {"left": x_ND[:, :3], "right": x_ND[:, 3:]}
    stack = Stack((Ridge(on=("left",)), Ridge(on=("right",))), even=0.0).fit(features, scores_NE)
    assert (stack.weight_M_ > 0.1).all()
    assert stack.weight_M_.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_large_even_is_an_average(clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(300)
    members: tuple[Estimator, ...] = (Constant(), Prototypes("x", k=3))
    stack = Stack(members, even=1e9, across=1e9).fit({"x": x_ND}, scores_NE)
    assert np.allclose(stack.weight_M_, 0.5, atol=1e-4)
    for mine, other in zip(
        stack.predict({"x": x_ND}), Average(members).fit({"x": x_ND}, scores_NE).predict({"x": x_ND}), strict=True
    ):
        assert np.allclose(mine, other, atol=1e-3)


def test_the_pull_towards_equal_weights_fades_in_a_longer_log() -> None:
    scores_NE = np.random.default_rng(6).uniform(size=(50, 2))
    errors_NE = np.random.default_rng(7).normal(size=(50, 2))
    held_MNE = np.stack([scores_NE + 0.1 * errors_NE, scores_NE + 0.2 * errors_NE[:, ::-1]])
    best = []
    for n in (1, 10, 100):
        lesson = Stack().learn(np.tile(held_MNE, (1, n, 1)), np.tile(scores_NE, (n, 1)), np.ones((50 * n, 2)))
        best.append(float(lesson.weight_M[0]))
    assert 0.5 < best[0] < best[1] < best[2]


def test_weights_are_the_least_error_on_a_grid() -> None:
    errors_MF = np.random.default_rng(3).normal(size=(3, 40)) + np.array([[0.0], [0.5], [1.0]])
    products_MM = errors_MF @ errors_MF.T
    weight_M = _least_error(products_MM, 0.0)
    ticks = np.linspace(0, 1, 51)
    grid_GM = np.array([(a, b, 1 - a - b) for a in ticks for b in ticks if a + b <= 1 + 1e-9])
    least = ((grid_GM @ products_MM) * grid_GM).sum(axis=1).min()
    assert weight_M @ products_MM @ weight_M <= least * (1 + 1e-4)
    assert (weight_M >= 0).all()


def test_an_error_that_all_experts_share_is_none() -> None:
    scores_NE = np.random.default_rng(2).uniform(size=(50, 3))
    held_MNE = np.stack([scores_NE + 0.3, scores_NE + np.array([0.3, 0.0, -0.3])])
    products_MM = _products(held_MNE, np.full(2, 0.5), scores_NE, np.ones_like(scores_NE))
    assert products_MM[0, 0] == pytest.approx(0.0, abs=1e-12)
    assert products_MM[1, 1] > 0.1


def test_one_outcome_per_query_is_enough(linear: Any) -> None:
    x_ND, scores_NE, _ = linear(450)
    scores_NE = np.where(np.arange(450)[:, None] % 3 == np.arange(3), scores_NE, np.nan)
    stack = Stack((Constant(), Ridge(on=("x",))), even=0.0).fit({"x": x_ND}, scores_NE)
    assert stack.weight_M_[1] > 0.8


def test_an_expert_observed_once_is_no_error(linear: Any) -> None:
    x_ND, scores_NE, _ = linear(90)
    scores_NE[1:, 2] = np.nan
    mean_NE, se_NE = Stack((Constant(), Ridge(on=("x",)))).fit({"x": x_ND}, scores_NE).predict({"x": x_ND})
    assert np.isfinite(mean_NE).all()
    assert np.isfinite(se_NE).all()


def test_few_queries_and_perfect_members_keep_equal_weights() -> None:
    x_ND = np.arange(20.0)[:, None]
    few = Stack((Constant(), Ridge(on=("x",)))).fit({"x": x_ND}, x_ND / 20)
    assert few.weight_M_.tolist() == [0.5, 0.5]
    same = Stack((Constant(), Constant())).fit({"x": np.zeros((60, 1))}, np.ones((60, 2)))
    assert same.weight_M_.tolist() == [0.5, 0.5]


def test_members_stay_unfitted_and_are_checked() -> None:
    made = Stack((Constant(), Prototypes("x", k=2)), folds=4)
    made.fit({"x": _noise(60)}, np.random.default_rng(0).uniform(size=(60, 2)))
    assert not made.members[0].learned()
    assert made.clone().folds == 4
    assert made.clone().members[0] is not made.members[0]
    for wrong in (Stack((Prototypes(prior=-1),)), Stack(()), Stack(folds=1)):
        with pytest.raises(ParameterError):
            wrong.check()


def test_given_weights_are_taken_and_members_without_weight_are_not_fitted() -> None:
    rng = np.random.default_rng(0)
    features = {"x": rng.normal(size=(80, 2)), "y": rng.normal(size=(80, 2))}
    scores_NE = rng.random((80, 2))
    stack = Stack((Ridge(on=("x",)), Ridge(on=("y",))), weights=(1.0, 0.0))
    assert stack.signals == ("x",)
    fitted = stack.fit(features, scores_NE)
    alone = Ridge(on=("x",)).fit(features, scores_NE)
    assert len(fitted.members_) == 1
    assert fitted.predict(features)[0] == pytest.approx(alone.predict(features)[0])


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.0,), (-0.5, 1.5)])
def test_weights_must_be_one_per_member_and_sum_to_one(weights: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match="`weights` must be"):
        Stack((Ridge(on=("x",)), Ridge(on=("y",))), weights=weights).check()
