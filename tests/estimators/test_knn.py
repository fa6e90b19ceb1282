"""kNN against a plain loop, with missing scores and with the two-pass search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout.estimators import knn
from turnout.estimators.knn import KNN
from turnout.features import Floats


def plain(x_ND: Floats, scores_N: Floats, query_D: Floats, k: int) -> float:
    seen_N = np.isfinite(scores_N)
    unit_ND = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
    similar_N = unit_ND[seen_N] @ (query_D / np.linalg.norm(query_D))
    return float(scores_N[seen_N][np.argsort(-similar_N)[:k]].mean())


def test_each_expert_has_its_own_neighbours() -> None:
    random = np.random.default_rng(0)
    x_ND, scores_NE = random.normal(size=(60, 4)).astype(np.float32), random.uniform(size=(60, 3))
    scores_NE[random.uniform(size=(60, 3)) < 0.5] = np.nan
    query_ND = random.normal(size=(5, 4)).astype(np.float32)
    mean_NE, _ = KNN("x", k=7, prior=0).fit({"x": x_ND}, scores_NE).predict({"x": query_ND})
    wanted_NE = [[plain(x_ND, scores_N, query_D, 7) for scores_N in scores_NE.T] for query_D in query_ND]
    assert np.allclose(mean_NE, wanted_NE, atol=1e-5)


def test_two_passes_find_nearly_all_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    x_ND = (random.normal(size=(3000, 256)) * np.geomspace(1, 0.05, 256)).astype(np.float32)
    scores_NE = np.where(random.uniform(size=(3000, 2)) < [1.0, 0.6], random.uniform(size=(3000, 2)), np.nan)
    query = {"x": x_ND[:200] + random.normal(size=(200, 256)).astype(np.float32) * 0.05}
    fitted = KNN("x", k=30).fit({"x": x_ND}, scores_NE)
    two_NE, _ = fitted.predict(query)
    monkeypatch.setattr(knn, "EXACT", 10_000)
    exact_NE, _ = KNN("x", k=30).fit({"x": x_ND}, scores_NE).predict(query)
    assert np.abs(two_NE - exact_NE).mean() < 0.002


def test_distance_weights_favour_the_nearest() -> None:
    x_ND = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], np.float32)
    scores_N1 = np.array([[1.0], [0.0], [0.0]])
    means = [
        float(KNN("x", k=3, weights=w, prior=0).fit({"x": x_ND}, scores_N1).predict({"x": x_ND[:1]})[0][0, 0])
        for w in ("uniform", "distance")
    ]
    assert means[0] == pytest.approx(1 / 3)
    assert means[1] > 0.6


def test_k_beyond_the_log_is_everything() -> None:
    x_ND, scores_N1 = np.eye(3, dtype=np.float32), np.array([[1.0], [0.0], [0.5]])
    mean_N1, _ = KNN("x", k=500, prior=0).fit({"x": x_ND}, scores_N1).predict({"x": x_ND})
    assert np.allclose(mean_N1, 0.5)


def test_a_newcomer_on_other_queries_brings_its_own_rows(clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(300)
    fitted = KNN("x", k=25).fit({"x": x_ND}, scores_NE)
    before_NE, _ = fitted.predict({"x": x_ND})
    other_ND, other_NE, _ = clusters(90, seed=5)
    fitted.add_expert({"x": other_ND}, other_NE[:, 1])
    after_NE, _ = fitted.predict({"x": x_ND})
    assert np.allclose(before_NE, after_NE[:, :3], atol=1e-6)
    assert np.corrcoef(after_NE[:, 1], after_NE[:, 3])[0, 1] > 0.9


def test_few_neighbours_are_less_certain(clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(400)
    few_NE, many_NE = (KNN("x", k=k).fit({"x": x_ND}, scores_NE).predict({"x": x_ND})[1] for k in (5, 100))
    assert few_NE.mean() > 2 * many_NE.mean()
