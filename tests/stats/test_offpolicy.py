from __future__ import annotations

import numpy as np
import pytest

from turnout.stats import (
    bootstrap_mean,
    bootstrap_ratio,
    chances,
    doubly_robust,
    effective_sample_size,
    importance_weights,
    ips,
    snips,
)


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


def bandit(seed: int, n: int = 600) -> tuple[np.ndarray, ...]:
    """A log of yes-or-no rewards whose policy prefers what is bad for some queries, and a policy to value."""
    rng = np.random.default_rng(seed)
    x_N = rng.random(n)
    mean_NE = np.stack([0.2 + 0.6 * x_N, 0.8 - 0.6 * x_N, np.full(n, 0.5)], axis=1)
    chance_NE = 0.7 * np.eye(3)[(x_N > 0.5).astype(int)] + 0.1
    logged_N = (rng.random((n, 1)) > np.cumsum(chance_NE, axis=1)).sum(axis=1).clip(max=2)
    seen_NE = np.eye(3, dtype=bool)[logged_N]
    scores_NE = np.where(seen_NE, (rng.random((n, 3)) < mean_NE).astype(float), np.nan)
    choice_N = np.where(x_N > 0.5, 0, 1)
    return mean_NE, scores_NE, np.where(seen_NE, chance_NE, np.nan), choice_N


def test_over_many_logs_the_estimates_are_unbiased_and_their_intervals_hold_the_truth() -> None:
    """The truth is 0.65; the mean of what was logged is far off."""
    held = {"ips": 0, "snips": 0, "dr": 0}
    means: dict[str, list[float]] = {name: [] for name in held}
    naive = []
    for seed in range(120):
        mean_NE, scores_NE, propensity_NE, choice_N = bandit(seed)
        qhat_NE = mean_NE * 0.6 + 0.1  # a model that is wrong, but knows something
        weights_N = importance_weights(choice_N, scores_NE, propensity_NE)
        ips_N = ips(choice_N, scores_NE, propensity_NE)
        found = {
            "ips": bootstrap_mean(ips_N, seed=seed, draws=400),
            "snips": bootstrap_ratio(ips_N, weights_N, seed=seed, draws=400),
            "dr": bootstrap_mean(doubly_robust(choice_N, scores_NE, propensity_NE, qhat_NE), seed=seed, draws=400),
        }
        naive.append(float(np.nanmean(scores_NE)))
        for name, interval in found.items():
            means[name].append(interval.mean)
            held[name] += interval.low <= 0.65 <= interval.high
    error = {name: abs(float(np.mean(values)) - 0.65) / (np.std(values) / 120**0.5) for name, values in means.items()}
    assert all(z < 3 for z in error.values()), error
    assert abs(np.mean(naive) - 0.65) > 0.03
    assert all(count >= 106 for count in held.values()), held  # 95 % of 120 is 114
    assert np.std(means["dr"]) < np.std(means["ips"])
    assert np.std(means["snips"]) < np.std(means["ips"])


def test_a_policy_of_chances_is_the_mixture_of_its_choices() -> None:
    mean_NE, scores_NE, propensity_NE, choice_N = bandit(0)
    other_N = np.full(len(choice_N), 2)
    mixed_NE = 0.25 * chances(choice_N, 3) + 0.75 * chances(other_N, 3)
    for value in (
        lambda choice: ips(choice, scores_NE, propensity_NE),
        lambda choice: doubly_robust(choice, scores_NE, propensity_NE, mean_NE),
        lambda choice: importance_weights(choice, scores_NE, propensity_NE),
    ):
        assert value(mixed_NE) == pytest.approx(0.25 * value(choice_N) + 0.75 * value(other_N))


@pytest.mark.parametrize(("weights", "size"), [([2, 2, 2], 3.0), ([1, 0], 1.0), ([0, 0], 0.0), ([3, 1], 1.6)])
def test_effective_sample_size(weights: list[float], size: float) -> None:
    assert effective_sample_size(np.array(weights, dtype=float)) == pytest.approx(size)
