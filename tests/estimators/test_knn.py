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


def blobs(rows: int, random: np.random.Generator) -> Floats:
    """Rows around 60 directions, as topics are."""
    topic_KD = random.normal(size=(60, 96)) * np.geomspace(1, 0.1, 96)
    noise_ND = random.normal(size=(rows, 96)) * np.geomspace(0.5, 0.05, 96)
    return (topic_KD[random.integers(0, 60, rows)] + noise_ND).astype(np.float32)


def test_an_inverted_file_finds_nearly_all_neighbours() -> None:
    random = np.random.default_rng(2)
    x_ND = blobs(6000, random)
    scores_NE = random.uniform(size=(6000, 3))
    scores_NE[random.uniform(size=6000) < 0.5, 1] = np.nan
    scores_NE[20:, 2] = np.nan  # so rare that its neighbours are far away
    query = {"x": blobs(50, np.random.default_rng(2))[:50]}
    cells, flat = (KNN("x", k=30, index=index).fit({"x": x_ND}, scores_NE) for index in ("cells", "flat"))
    assert len(cells.center_CD_) > 100
    assert not hasattr(flat, "center_CD_")
    for found, wanted in zip(cells.predict(query), flat.predict(query), strict=True):
        assert np.abs(found - wanted).mean() < 0.01
        assert found[:, 2] == pytest.approx(wanted[:, 2], abs=1e-4)


def test_a_large_log_is_indexed_by_itself_and_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "INDEXED", 500)
    random = np.random.default_rng(3)
    x_ND = blobs(800, random)
    fitted = KNN("x", k=5, prior=0).fit({"x": x_ND[:600]}, random.uniform(size=(600, 2)))
    assert len(fitted.cell_N_) == 600
    before_NE = fitted.predict({"x": x_ND[:20]})[0]
    fitted.add_expert({"x": x_ND[600:]}, np.full(200, 0.25))
    assert len(fitted.cell_N_) == 800
    after_NE = fitted.predict({"x": x_ND[:20]})[0]
    assert after_NE[:, :2] == pytest.approx(before_NE, abs=0.2)  # cells hold other rows too now
    assert after_NE[:, 2] == pytest.approx(np.full(20, 0.25), abs=1e-6)
