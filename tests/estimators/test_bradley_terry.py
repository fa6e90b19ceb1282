"""Ratings from comparisons: known strengths, hard and easy queries, and neighbourhoods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout.estimators.bradley_terry import BradleyTerry


def comparisons(rows: int = 4000, seed: int = 0) -> tuple[Any, Any]:
    """Two of four experts per query; exactly one wins, by strengths 0, 1, 2, 3 in log-odds."""
    rng = np.random.default_rng(seed)
    strength_E, scores_NE = np.arange(4.0), np.full((rows, 4), np.nan)
    for scores_E in scores_NE:
        i, j = rng.choice(4, 2, replace=False)
        first = rng.uniform() < 1 / (1 + np.exp(strength_E[j] - strength_E[i]))
        scores_E[[i, j]] = [first, not first]
    return rng.normal(size=(rows, 3)).astype(np.float32), scores_NE


def test_ratings_recover_known_strengths() -> None:
    x_ND, scores_NE = comparisons()
    made = BradleyTerry("x", gamma=1.0).fit({"x": x_ND}, scores_NE)
    rating_1E = made._every(x_ND[:1])
    assert np.allclose(np.diff(rating_1E[0]), 1.0, atol=0.2)


def test_elo_is_not_fooled_by_who_got_the_easy_queries() -> None:
    """Expert 1 beats expert 0 wherever both answer, but alone it is asked only what hardly anyone can answer."""
    rng = np.random.default_rng(1)
    scores_NE = np.full((900, 2), np.nan)
    scores_NE[:300, 0] = rng.uniform(size=300) < 0.9
    scores_NE[300:600, 1] = rng.uniform(size=300) < 0.1
    scores_NE[600:] = np.stack([rng.uniform(size=300) < 0.4, rng.uniform(size=300) < 0.7], axis=1)
    x_ND = np.zeros((900, 1), np.float32)
    mean_NE, _ = BradleyTerry("x", gamma=1.0, level="rating").fit({"x": x_ND}, scores_NE).predict({"x": x_ND[:1]})
    assert np.nanmean(scores_NE, axis=0).argmax() == 0
    assert mean_NE[0].argmax() == 1


def test_full_logs_and_logs_with_one_hole_are_rated_alike() -> None:
    rng = np.random.default_rng(2)
    x_ND, scores_NE = rng.normal(size=(300, 4)).astype(np.float32), rng.uniform(size=(300, 3))
    holed_NE = scores_NE.copy()
    holed_NE[0, 0] = np.nan
    full, holed = (BradleyTerry("x").fit({"x": x_ND}, s_NE).predict({"x": x_ND})[0] for s_NE in (scores_NE, holed_NE))
    assert np.abs(full - holed).max() < 0.02


@pytest.mark.parametrize("level", ["score", "rating"])
def test_a_large_gamma_follows_the_neighbourhood(level: str, clusters: Any) -> None:
    x_ND, scores_NE, _ = clusters(600)
    made = BradleyTerry("x", gamma=1e4, level=level).fit({"x": x_ND}, scores_NE)
    assert made.predict({"x": np.eye(3, dtype=np.float32) * 4})[0].argmax(axis=1).tolist() == [0, 1, 2]


def test_removed_experts_remain_opponents_and_newcomers_are_rated_against_them() -> None:
    x_ND, scores_NE = comparisons(2000)
    full_NE = np.where(np.isfinite(scores_NE), scores_NE, 0.5)
    made = BradleyTerry("x", gamma=1.0, level="rating").fit({"x": x_ND}, full_NE)
    made.remove_expert(3).add_expert({"x": x_ND}, np.ones(2000))
    assert made._every(x_ND[:1])[0].argmax() == 4


def test_hundreds_of_experts_are_rated_a_few_queries_at_a_time() -> None:
    rng = np.random.default_rng(0)
    x_ND, strength_E = rng.normal(size=(60, 3)).astype(np.float32), np.linspace(0.1, 0.9, 300)
    scores_NE = np.clip(strength_E + 0.05 * rng.normal(size=(60, 300)), 0, 1)
    scores_NE[0, 0] = np.nan
    made = BradleyTerry("x").fit({"x": x_ND}, scores_NE)
    assert made._chunk() < 60
    assert np.corrcoef(made.predict({"x": x_ND})[0].mean(axis=0), strength_E)[0, 1] > 0.98
