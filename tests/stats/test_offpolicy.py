from __future__ import annotations

import numpy as np
import pytest

from turnout.stats import doubly_robust, effective_sample_size, importance_weights, ips, snips


def world(n: int = 4000, experts: int = 4) -> tuple[np.ndarray, ...]:
    """True scores, and a log of one expert per query under known, uneven propensities."""
    rng = np.random.default_rng(0)
    truth_NE = rng.random((n, experts)) * 0.5 + np.linspace(0, 0.5, experts)
    chance_NE = rng.dirichlet(np.arange(1, experts + 1), size=n) * 0.8 + 0.2 / experts
    logged_N = (rng.random((n, 1)) > np.cumsum(chance_NE, axis=1)).sum(axis=1).clip(max=experts - 1)
    scores_NE, propensity_NE = np.full((n, experts), np.nan), np.full((n, experts), np.nan)
    rows = np.arange(n)
    scores_NE[rows, logged_N] = truth_NE[rows, logged_N]
    propensity_NE[rows, logged_N] = chance_NE[rows, logged_N]
    choice_N = rng.integers(experts, size=n)
    return truth_NE, scores_NE, propensity_NE, choice_N


def test_every_estimate_is_near_the_truth() -> None:
    truth_NE, scores_NE, propensity_NE, choice_N = world()
    truth = truth_NE[np.arange(len(choice_N)), choice_N].mean()
    qhat_NE = np.full_like(truth_NE, 0.4)
    assert ips(choice_N, scores_NE, propensity_NE).mean() == pytest.approx(truth, abs=0.05)
    assert snips(choice_N, scores_NE, propensity_NE).mean() == pytest.approx(truth, abs=0.02)
    assert doubly_robust(choice_N, scores_NE, propensity_NE, qhat_NE).mean() == pytest.approx(truth, abs=0.02)


def test_doubly_robust_varies_less_than_ips_with_a_good_model() -> None:
    truth_NE, scores_NE, propensity_NE, choice_N = world()
    qhat_NE = truth_NE + np.random.default_rng(1).normal(0, 0.05, truth_NE.shape)
    robust_N = doubly_robust(choice_N, scores_NE, propensity_NE, qhat_NE)
    assert robust_N.std() < 0.5 * ips(choice_N, scores_NE, propensity_NE).std()


def test_doubly_robust_needs_one_of_the_two() -> None:
    truth_NE, scores_NE, propensity_NE, choice_N = world()
    truth = truth_NE[np.arange(len(choice_N)), choice_N].mean()
    wrong_NE = np.where(np.isnan(propensity_NE), np.nan, 0.9)
    assert doubly_robust(choice_N, scores_NE, wrong_NE, truth_NE).mean() == pytest.approx(truth, abs=1e-9)
    assert abs(ips(choice_N, scores_NE, wrong_NE).mean() - truth) > 0.2


def test_a_full_matrix_gives_the_score_itself() -> None:
    scores_NE = np.random.default_rng(0).random((50, 3))
    choice_N = np.arange(50) % 3
    expected_N = scores_NE[np.arange(50), choice_N]
    for values_N in (
        ips(choice_N, scores_NE, None),
        snips(choice_N, scores_NE, None),
        doubly_robust(choice_N, scores_NE, None, np.zeros((50, 3))),
        doubly_robust(choice_N, scores_NE, np.full((50, 3), np.nan), np.zeros((50, 3))),
    ):
        assert values_N == pytest.approx(expected_N)


def test_what_was_never_observed() -> None:
    scores_NE = np.array([[np.nan, 1.0], [np.nan, 0.0]])
    choice_N = np.array([0, 0])
    assert importance_weights(choice_N, scores_NE, None).tolist() == [0.0, 0.0]
    assert np.isnan(snips(choice_N, scores_NE, None)).all()
    assert doubly_robust(choice_N, scores_NE, None, np.full((2, 2), 0.25)).tolist() == [0.25, 0.25]


@pytest.mark.parametrize(("weights", "size"), [([2, 2, 2], 3.0), ([1, 0], 1.0), ([0, 0], 0.0), ([3, 1], 1.6)])
def test_effective_sample_size(weights: list[float], size: float) -> None:
    assert effective_sample_size(np.array(weights, dtype=float)) == pytest.approx(size)
