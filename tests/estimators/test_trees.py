"""Forest and boosting: what leaves hold, and how trees differ from linear models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout.estimators.ridge import Ridge
from turnout.estimators.trees import Trees


def crossed(rows: int = 600, seed: int = 0) -> tuple[Any, Any]:
    """Expert 0 is right where two columns agree in sign, expert 1 where they do not: no line tells them apart."""
    x_ND = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    agree_N = x_ND[:, 0] * x_ND[:, 1] > 0
    return x_ND, np.stack([agree_N, ~agree_N], axis=1).astype(float)


@pytest.mark.parametrize("grow", ["forest", "boosting"])
def test_trees_learn_an_interaction_that_a_line_cannot(grow: str) -> None:
    x_ND, scores_NE = crossed()
    asked_ND, truth_NE = crossed(seed=1)

    def right(made: Any) -> float:
        chosen_N = made.fit({"x": x_ND}, scores_NE).predict({"x": asked_ND})[0].argmax(axis=1)
        return float(truth_NE[np.arange(len(truth_NE)), chosen_N].mean())

    assert right(Trees(on=("x",), grow=grow, cuts="best", share=1.0)) > 0.9
    assert right(Ridge(on=("x",))) < 0.65


def test_one_deep_tree_without_prior_says_the_leafs_mean() -> None:
    x_N1 = np.repeat(np.array([[0.0], [1.0]], np.float32), 50, axis=0)
    scores_N1 = np.repeat(np.array([[0.2], [0.9]]), 50, axis=0)
    made = Trees(on=("x",), trees=1, depth=1, prior=0.0, share=1.0, cuts="best")
    mean_N1, _ = made.fit({"x": x_N1}, scores_N1).predict({"x": np.array([[0.0], [1.0]])})
    assert np.allclose(mean_N1[:, 0], [0.2, 0.9], atol=1e-6)


def test_numpy_walks_the_trees_as_scikit_learn_does() -> None:
    from sklearn.tree import DecisionTreeRegressor

    x_ND, scores_NE = crossed(200)
    grown = DecisionTreeRegressor(max_depth=6, random_state=0).fit(x_ND, scores_NE)
    made = Trees(on=("x",), trees=3, depth=6).fit({"x": x_ND}, scores_NE)
    from turnout.estimators.trees import _arrays

    made.column_J_, made.cut_J_, made.child_J2_, made.deepest_ = _arrays(grown.tree_)
    made.root_T_ = np.array([0])
    assert np.array_equal(next(made._walked(x_ND))[:, 0], grown.apply(x_ND))


@pytest.mark.parametrize("grow", ["forest", "boosting"])
def test_a_newcomer_fills_the_leaves_that_are_there(grow: str) -> None:
    x_ND, scores_NE = crossed(1000)
    made = Trees(on=("x",), grow=grow, share=1.0).fit({"x": x_ND}, scores_NE)
    nodes = len(made.column_J_)
    made.add_expert({"x": x_ND}, scores_NE[:, 0])
    mean_NE, _ = made.predict({"x": x_ND})
    assert len(made.column_J_) == nodes
    assert np.corrcoef(mean_NE[:, 0], mean_NE[:, 2])[0, 1] > 0.95


def test_many_experts_share_splits() -> None:
    x_ND, scores_NE = crossed(400)
    wide_NE = np.tile(scores_NE, (1, 20))
    mean_NE, _ = Trees(on=("x",), trees=20, share=1.0).fit({"x": x_ND}, wide_NE).predict({"x": x_ND})
    assert ((mean_NE > 0.5) == (wide_NE > 0.5)).mean() > 0.8


def test_few_queries_in_a_leaf_are_less_certain() -> None:
    x_N1 = np.concatenate([np.zeros(300), np.ones(6)])[:, None]
    scores_N1 = (np.arange(306) % 2)[:, None].astype(float)
    made = Trees(on=("x",), trees=10, leaf=1, depth=1, share=1.0).fit({"x": x_N1}, scores_N1)
    _, se_N1 = made.predict({"x": np.array([[0.0], [1.0]])})
    assert se_N1[1, 0] > 2 * se_N1[0, 0]
