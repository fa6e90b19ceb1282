"""Recipes and routers as methods: what they see, and that fits never reach the test side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from turnout import registry
from turnout.evaluation.methods import FeatureCache, Fitted, Fixed, Recipe
from turnout.evaluation.protocol import crossval, folds
from turnout.evaluation.tables import Table
from turnout.outcomes import OutcomeLog
from turnout.routers import Router


def sides(log: OutcomeLog) -> tuple[np.ndarray, np.ndarray]:
    split = folds(Table.of(log), 4, (0,))[0]
    return split.train_I, split.test_I


def test_a_recipe_learns_the_made_log(log: OutcomeLog) -> None:
    found = crossval([Recipe(registry.create("estimator", "ridge"))], log, k=4, seeds=(0,))
    gain = found.evaluation.rows[0].gain
    assert gain is not None
    assert gain.low > 0


def test_test_scores_never_reach_a_recipe(log: OutcomeLog) -> None:
    train_I, test_I = sides(log)
    scores = log.matrix()
    scores[test_I] = 1 - scores[test_I]
    turned = OutcomeLog.from_arrays(log.texts, log.experts, scores, cost_NE=log.matrix("cost"), tasks=log.tasks)
    first, second = (Recipe(registry.create("estimator", "ridge"))(one, train_I, test_I, 0) for one in (log, turned))
    assert (first.test_quality_NE == second.test_quality_NE).all()
    assert (first.train_quality_NE == second.train_quality_NE).all()


def test_cross_fitting_keeps_a_memoriser_from_knowing_the_training_side(log: OutcomeLog) -> None:
    train_I, test_I = sides(log)
    nearest = registry.create("estimator", "knn", k=1)
    honest = Recipe(nearest)(log, train_I, test_I, 0).train_quality_NE
    naive = Recipe(nearest, cross_fit=False)(log, train_I, test_I, 0).train_quality_NE
    scores = log.matrix()[train_I]
    assert ((naive - scores) ** 2).mean() < ((honest - scores) ** 2).mean()


def test_an_estimator_without_signals_can_be_measured(log: OutcomeLog) -> None:
    found = crossval([Recipe(registry.create("estimator", "constant"))], log, k=3, seeds=(0,))
    assert found.difference("constant", "best single").mean == pytest.approx(0.0)


def test_features_are_computed_once_per_learned_state(log: OutcomeLog) -> None:
    cache, index = FeatureCache(log.texts), np.arange(100)
    embedding, tfidf = registry.create("signal", "embedding"), registry.create("signal", "tfidf")
    assert cache.features(embedding, index) is cache.features(embedding, index + 50)
    assert cache.features(tfidf, index) is cache.features(tfidf, index)
    assert cache.features(tfidf, index) is not cache.features(tfidf, index + 50)


def test_the_product_is_measured_as_it_is(log: OutcomeLog) -> None:
    train_I, test_I = sides(log)
    options = {"estimator": registry.create("estimator", "ridge")}
    estimates = Fitted(options=options)(log, train_I, test_I, 7)
    router = Router.fit(log.select(train_I), seed=7, **options)
    assert (estimates.choice_N == router.choose(log.select(test_I))).all()
    quality_NE, _, cost_NE = router.predict(log.select(test_I))
    assert estimates.test_quality_NE == pytest.approx(quality_NE)
    assert estimates.test_cost_NE == pytest.approx(cost_NE)
    assert estimates.train_quality_NE.shape == (len(train_I), 3)


def test_a_fixed_router_is_asked_once_per_log(log: OutcomeLog) -> None:
    asked: list[int] = []

    def ask(given: OutcomeLog) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked.append(len(given))
        return given.matrix(), given.matrix("cost"), given.matrix().argmax(axis=1)

    found = crossval([Fixed(ask)], log, k=3, seeds=(0, 1))
    assert asked == [len(log)]
    gap = found.evaluation.rows[0].gap
    assert gap is not None
    assert gap.mean == pytest.approx(0.0)


def test_partial_logs_can_be_measured(make_log: Callable[..., OutcomeLog]) -> None:
    partial = make_log(240, partial=True)
    evaluation = crossval([Fitted()], partial, k=3, seeds=(0,)).evaluation
    assert any("partial" in remark for remark in evaluation.remarks)
    assert evaluation.facts["observed"] == pytest.approx(5 / 6, abs=0.05)
