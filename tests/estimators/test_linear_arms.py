"""Linear arms: fitted at once and reward by reward they are the same; exploration differs in one formula."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.estimators.linear_arms import LinearArms


def problem(n: int = 400, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, list[str]]:
    """Two groups of queries; each arm is good in one of them."""
    rng = np.random.default_rng(seed)
    group_N = rng.integers(2, size=n)
    x_ND = np.eye(2)[group_N] + rng.normal(0, 0.05, (n, 2))
    scores_NE = np.clip(np.eye(2)[group_N] * 0.6 + 0.2 + rng.normal(0, 0.05, (n, 2)), 0, 1)
    features = {"x": x_ND.astype(np.float32), "r": np.zeros((n, 1), np.float32)}
    return features, scores_NE, ["left" if g else "right" for g in group_N]


def arms(**changes: object) -> LinearArms:
    return LinearArms(("x",), **{"reading": "r", "clusters": 2, "ridge": 1.0, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"tasks": False}, {"clusters": 0}, {"cuts": ()}])
def test_groups_tell_arms_apart(changes: dict[str, object]) -> None:
    features, scores_NE, tasks = problem()
    made = arms(**changes).fit(features, scores_NE, tasks=tasks)
    mean_NE, se_NE = made.predict(features)
    assert (mean_NE.argmax(axis=1) == scores_NE.argmax(axis=1)).mean() > 0.99
    assert (se_NE < 0.05).all()


def test_without_any_group_it_is_the_mean() -> None:
    features, scores_NE, _ = problem()
    mean_NE, _ = arms(clusters=0, cuts=(), ridge=1e-3).fit(features, scores_NE).predict(features)
    assert mean_NE == pytest.approx(np.broadcast_to(scores_NE.mean(axis=0), mean_NE.shape), abs=1e-6)


def test_a_bin_is_a_column_per_cut() -> None:
    features, scores_NE, _ = problem(8)
    features["r"] = np.array([[-0.1], [0.0], [0.2], [0.33], [0.5], [0.67], [0.9], [3.0]], np.float32)
    made = arms(clusters=0, cuts=(0.0, 0.33, 0.67), tasks=False).fit(features, scores_NE)
    assert made.context(features).argmax(axis=1).tolist() == [0, 1, 1, 2, 2, 3, 3, 3]


def test_learning_one_by_one_ends_where_the_fit_does() -> None:
    """The centre apart: a cold arm has 0.5 for it, so the fit's is moved there."""
    features, scores_NE, _ = problem(60)
    cold = arms(ridge=2.0).cold(features, 2)
    x_ND = cold.context(features)
    for n in range(60):
        cold.learn(x_ND[n], n % 2, float(scores_NE[n, n % 2]))
    for e in range(2):
        seen_N = np.arange(60) % 2 == e
        a_DD = 2.0 * np.eye(x_ND.shape[1]) + x_ND[seen_N].T @ x_ND[seen_N]
        assert np.linalg.inv(a_DD) == pytest.approx(cold.inverse_EDD_[e])
        theta_D = np.linalg.solve(a_DD, x_ND[seen_N].T @ (scores_NE[seen_N, e] - 0.5))
        assert cold.predict(features)[0][:, e] == pytest.approx(0.5 + x_ND @ theta_D)


def test_explorers_differ_in_the_score_alone() -> None:
    features, scores_NE, _ = problem()
    rng = np.random.default_rng(0)
    made = {rule: arms(explore=rule, amount=0.5).fit(features, scores_NE) for rule in ("ucb", "thompson", "greedy")}
    x_ND = made["ucb"].context(features)
    mean_NE, _ = made["ucb"].predict(features)
    width_NE = np.sqrt(np.einsum("ni,eij,nj->ne", x_ND, made["ucb"].inverse_EDD_, x_ND))
    assert made["ucb"].scores(x_ND, rng) == pytest.approx(mean_NE + 0.5 * width_NE)
    drawn_SNE = np.stack([made["thompson"].scores(x_ND[:1], rng) for _ in range(4000)])
    assert drawn_SNE.std(axis=0) == pytest.approx(0.5 * width_NE[:1], rel=0.1)
    assert drawn_SNE.mean(axis=0) == pytest.approx(mean_NE[:1], abs=0.01)
    chosen_N = made["greedy"].scores(np.repeat(x_ND[:1], 4000, axis=0), rng).argmax(axis=1)
    assert (chosen_N != mean_NE[0].argmax()).mean() == pytest.approx(0.25, abs=0.03)


def test_learning_finds_the_better_arm() -> None:
    features, scores_NE, _ = problem()
    learner, rng = arms(amount=0.3).cold(features, 2), np.random.default_rng(0)
    x_ND = learner.context(features)
    right = []
    for n in range(400):
        chosen = int(learner.scores(x_ND[n : n + 1], rng)[0].argmax())
        learner.learn(x_ND[n], chosen, float(scores_NE[n, chosen]))
        right.append(chosen == scores_NE[n].argmax())
    assert np.mean(right[50:]) > 0.95
