"""Low-rank scoring: structure recovered, losses and their gradients, and experts known by their features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout.errors import ParameterError
from turnout.estimators._losses import LOSSES, loss_and_slope, near_and_far
from turnout.estimators.bilinear import Bilinear


def low_rank(rows: int = 1500, experts: int = 12, seed: int = 0) -> tuple[Any, Any, Any]:
    """Scores whose log-odds have rank 2 in queries (10 columns) and experts; also the true means."""
    rng = np.random.default_rng(seed)
    x_ND = rng.normal(size=(rows, 10)).astype(np.float32)
    vector_EH = np.random.default_rng(9).normal(size=(experts, 2)) * 1.5
    mean_NE = 1 / (1 + np.exp(-x_ND[:, :2] @ vector_EH.T))
    return x_ND, (rng.uniform(size=mean_NE.shape) < mean_NE).astype(float), mean_NE


def gain(made: Any, asked_ND: Any, mean_NE: Any) -> float:
    """The part of the perfect choice's gain over the best single expert that its choices make."""
    chosen_N = made.predict({"x": asked_ND})[0].argmax(axis=1)
    single = mean_NE.mean(axis=0).max()
    return float((mean_NE[np.arange(len(mean_NE)), chosen_N].mean() - single) / (mean_NE.max(axis=1).mean() - single))


@pytest.mark.parametrize("kind", LOSSES)
def test_slopes_are_those_of_the_loss(kind: str) -> None:
    rng = np.random.default_rng(0)
    rating_NE, scores_NE = rng.normal(size=(7, 5)), rng.integers(2, size=(7, 5)).astype(float)
    weights_NE = np.where(rng.uniform(size=(7, 5)) < 0.8, rng.uniform(0.5, 2.0, size=(7, 5)), 0.0)
    _, slope_NE = loss_and_slope(kind, rating_NE, scores_NE, weights_NE, 0.5)
    for spot in np.ndindex(rating_NE.shape):
        moved = [rating_NE.copy(), rating_NE.copy()]
        moved[0][spot] += 1e-6
        moved[1][spot] -= 1e-6
        high, low = (loss_and_slope(kind, m_NE, scores_NE, weights_NE, 0.5)[0] for m_NE in moved)
        assert np.isclose(slope_NE[spot], (high - low) / 2e-6, atol=1e-6)


def test_the_sample_sample_slope_is_that_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    unit_NH = rng.normal(size=(6, 3))
    near_N, far_NM = rng.integers(6, size=6), rng.integers(6, size=(6, 2))
    _, slope_NH = near_and_far(unit_NH, near_N, far_NM, 0.7)
    for spot in np.ndindex(unit_NH.shape):
        moved = [unit_NH.copy(), unit_NH.copy()]
        moved[0][spot] += 1e-6
        moved[1][spot] -= 1e-6
        high, low = (near_and_far(m_NH, near_N, far_NM, 0.7)[0] for m_NH in moved)
        assert np.isclose(slope_NH[spot], (high - low) / 2e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["free", "mean", "probe"])
def test_a_low_rank_structure_is_recovered(kind: str) -> None:
    x_ND, scores_NE, _ = low_rank()
    asked_ND, _, mean_NE = low_rank(seed=1)
    made = Bilinear(on=("x",), rank=2, experts=kind, penalty=0.01).fit({"x": x_ND}, scores_NE)
    assert gain(made, asked_ND, mean_NE) > 0.75


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns_to_rank(loss: str) -> None:
    x_ND, scores_NE, _ = low_rank()
    asked_ND, _, mean_NE = low_rank(seed=1)
    made = Bilinear(on=("x",), rank=4, loss=loss, penalty=0.01).fit({"x": x_ND}, scores_NE)
    assert gain(made, asked_ND, mean_NE) > 0.6


def test_the_penalty_is_chosen_large_where_there_is_only_noise() -> None:
    x_ND, scores_NE, _ = low_rank(600)
    noise_NE = np.random.default_rng(0).permuted(scores_NE, axis=0)
    learned, shuffled = (Bilinear(on=("x",)).fit({"x": x_ND}, s_NE).penalty_ for s_NE in (scores_NE, noise_NE))
    assert shuffled > learned


@pytest.mark.parametrize("kind", ["mean", "probe"])
def test_a_newcomer_is_known_by_few_outcomes_through_what_the_others_taught(kind: str) -> None:
    """Thirty labels: more is known than its mean, for nothing is fitted but a card."""
    x_ND, scores_NE, mean_NE = low_rank()
    made = Bilinear(on=("x",), rank=2, experts=kind, probes=12, penalty=0.01).fit({"x": x_ND}, scores_NE[:, :-1])
    made.add_expert({"x": x_ND[:30]}, scores_NE[:30, -1])
    found_N, truth_N = made.predict({"x": x_ND[30:]})[0][:, -1], mean_NE[30:, -1]
    assert np.corrcoef(found_N, truth_N)[0, 1] > 0.6


def test_given_cards_tell_experts_apart_and_must_fit() -> None:
    x_ND, scores_NE, _ = low_rank()
    asked_ND, _, mean_NE = low_rank(seed=1)
    cards = tuple(tuple(row) for row in (np.random.default_rng(9).normal(size=(12, 2)) * 1.5).tolist())
    made = Bilinear(on=("x",), rank=2, experts="given", cards=cards, penalty=0.01).fit({"x": x_ND}, scores_NE)
    assert gain(made, asked_ND, mean_NE) > 0.75
    with pytest.raises(ParameterError, match="one row per expert"):
        made.clone(cards=cards[:3]).fit({"x": x_ND}, scores_NE)


def test_difficulty_is_a_term_of_the_query_alone() -> None:
    """Experts that all fail on the same queries: the difficulty carries it, and ranks nobody."""
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(1500, 4)).astype(np.float32)
    chance_NE = 1 / (1 + np.exp(-2 * x_ND[:, :1] - np.array([0.0, 0.5, 1.0])))
    scores_NE = (rng.uniform(size=chance_NE.shape) < chance_NE).astype(float)
    made = Bilinear(on=("x",), rank=1, difficulty=True, penalty=0.05).fit({"x": x_ND}, scores_NE)
    shared, own = np.abs(made.query_DH_[0, -1]), np.abs(made.query_DH_[0, 0] * np.ptp(made.vector_EH_[:, 0]))
    assert shared > 4 * own
