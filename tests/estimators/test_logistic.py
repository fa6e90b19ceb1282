"""Logistic regression against scikit-learn's, and with soft labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from turnout.errors import ParameterError
from turnout.estimators.logistic import Logistic


def test_a_hard_label_gets_scikit_learns_answer() -> None:
    random = np.random.default_rng(0)
    x_ND = random.normal(size=(400, 4)).astype(np.float32)
    chance_N = 1 / (1 + np.exp(-(x_ND @ [1.5, -1.0, 0.5, 0.0])))
    scores_N1 = (random.uniform(size=400) < chance_N)[:, None].astype(float)
    mean_N1, _ = Logistic(on=("x",), penalty=1e-3).fit({"x": x_ND}, scores_N1).predict({"x": x_ND})
    peer = LogisticRegression(C=1e6, tol=1e-8).fit(x_ND, scores_N1[:, 0])
    assert np.abs(mean_N1[:, 0] - peer.predict_proba(x_ND)[:, 1]).max() < 0.02


def test_a_soft_label_counts_as_that_many_of_each() -> None:
    x_N1 = np.repeat(np.array([[-1.0], [1.0]], np.float32), 50, axis=0)
    scores_N1 = np.repeat(np.array([[0.2], [0.7]]), 50, axis=0)
    mean_N1, _ = Logistic(on=("x",), penalty=1e-3).fit({"x": x_N1}, scores_N1).predict({"x": x_N1[::50]})
    assert np.allclose(mean_N1.ravel(), [0.2, 0.7], atol=0.01)


def test_perfect_separation_and_constant_scores_stay_finite() -> None:
    x_N1 = np.linspace(-1, 1, 60, dtype=np.float32)[:, None]
    scores_NE = np.column_stack([x_N1[:, 0] > 0, np.ones(60), np.zeros(60)]).astype(float)
    mean_NE, se_NE = Logistic(on=("x",)).fit({"x": x_N1}, scores_NE).predict({"x": x_N1})
    assert np.isfinite(se_NE).all()
    assert mean_NE[-1, 0] > 0.8
    assert mean_NE[0, 0] < 0.2
    assert (mean_NE[:, 1] > 0.95).all()
    assert (mean_NE[:, 2] < 0.05).all()


def test_missing_scores_are_left_out(clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(600)
    scores_NE[np.random.default_rng(0).uniform(size=scores_NE.shape) < 0.5] = np.nan
    fitted = Logistic(on=("x",), penalty=1.0).fit({"x": x_ND}, scores_NE)
    mean_NE, _ = fitted.predict({"x": np.eye(3, dtype=np.float32) * 4})
    assert np.abs(mean_NE - np.where(np.eye(3) > 0, 0.9, 0.3)).max() < 0.1


def test_a_strong_expert_gains_little_where_both_are_right() -> None:
    """On the log-odds scale an equal push moves a mean near 1 less than one at a half; a line cannot say that."""
    x_N1 = np.random.default_rng(0).normal(size=(4000, 1)).astype(np.float32)
    chance_NE = 1 / (1 + np.exp(-(2 * x_N1 + [[0.0, 1.0]])))
    mean_NE, _ = Logistic(on=("x",)).fit({"x": x_N1}, chance_NE).predict({"x": np.array([[0.0], [2.0]], np.float32)})
    gap_N = mean_NE[:, 1] - mean_NE[:, 0]
    assert gap_N[0] > 4 * gap_N[1] > 0


def test_models_on_fewer_signals_are_mixed_into_one_predictor(linear: Any, sparse: Any) -> None:
    x_ND, scores_NE, _ = linear(200, width=6)
    features = {"a": x_ND[:, :2], "s": sparse(x_ND[:, 2:4]), "b": x_ND[:, 4:]}
    scores_NE = np.clip(scores_NE, 0, 1)
    subset = ("b", "s")
    mixed = Logistic(on=("a", "s", "b"), fewer=(subset,)).fit(features, scores_NE)
    parts = [Logistic(on=on).fit(features, scores_NE).predict(features)[0] for on in (("a", "s", "b"), subset)]
    odds_NE = np.mean([np.log(p / (1 - p)) for p in parts], axis=0)
    assert np.allclose(mixed.predict(features)[0], 1 / (1 + np.exp(-odds_NE)), atol=1e-4)
    before_NE = mixed.predict(features)[0]
    mixed.add_expert(features, scores_NE[:, 0]).remove_expert(1)
    assert np.allclose(mixed.predict(features)[0], before_NE[:, [0, 2, 0]], atol=0.02)


def test_fewer_signals_must_be_among_all() -> None:
    with pytest.raises(ParameterError, match="other"):
        Logistic(on=("x",), fewer=(("other",),)).check()
    with pytest.raises(ParameterError, match="fewer"):
        Logistic(on=("x",), fewer=("x",)).check()  # type: ignore[arg-type]


def test_rare_outcomes_that_are_easily_told_are_learned_and_do_not_swing() -> None:
    """Five kinds of queries, two names each that nothing tells apart: whole Newton steps lead beyond the goal."""
    rng = np.random.default_rng(0)
    kind_N = np.repeat(np.arange(5), [1500, 900, 600, 120, 40])
    x_ND = (np.eye(5)[kind_N] @ rng.normal(size=(5, 40)) + 0.3 * rng.normal(size=(len(kind_N), 40))).astype(np.float32)
    name_N = 2 * kind_N + (rng.random(len(kind_N)) < 0.35)
    chance_NE, _ = Logistic(on=("x",)).fit({"x": x_ND}, name_N[:, None] == np.arange(10)).predict({"x": x_ND})
    kind_NK = chance_NE.reshape(-1, 5, 2).sum(axis=2)
    assert (kind_NK.argmax(axis=1) == kind_N).all()
    assert [kind_NK[kind_N == kind, kind].mean() for kind in range(5)] == pytest.approx([1.0] * 5, abs=0.05)
