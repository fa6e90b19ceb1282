"""The quality gap as a label: margins, ties, and queries without the strongest expert."""

from __future__ import annotations

import numpy as np

from turnout.estimators.gap import Gap
from turnout.estimators.logistic import Logistic

LINEAR = Logistic(on=("x",))


def soft(rows: int = 800, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A strong expert at 0.9 and a weak one between 0.2 and 0.7, by the first column: never as good, often near."""
    rng = np.random.default_rng(seed)
    x_ND = rng.uniform(-1, 1, size=(rows, 2)).astype(np.float32)
    return x_ND, np.column_stack([np.full(rows, 0.9), 0.45 + 0.25 * x_ND[:, 0] + rng.normal(size=rows) * 0.03])


def test_a_margin_is_found_where_no_query_is_as_good() -> None:
    x_ND, scores_NE = soft()
    made = Gap(LINEAR).fit({"x": x_ND}, scores_NE)
    assert 0.35 < made.margin_E_[1] < 0.55
    mean_NE, _ = made.predict({"x": np.array([[-0.8, 0.0], [0.8, 0.0]])})
    assert mean_NE[1, 1] > mean_NE[0, 1] + 0.2


def test_without_a_margin_nothing_is_learned_of_it() -> None:
    x_ND, scores_NE = soft()
    mean_NE, _ = Gap(LINEAR, margin=0.0).fit({"x": x_ND}, scores_NE).predict({"x": x_ND})
    assert mean_NE[:, 1].std() < 0.02


def test_right_or_wrong_ties_count_as_good_enough() -> None:
    scores_NE = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]] * 20)
    x_ND = scores_NE[:, 1:] - scores_NE[:, :1] + 0.01 * np.random.default_rng(0).normal(size=(100, 1))
    made = Gap(LINEAR).fit({"x": x_ND}, scores_NE)
    assert made.margin_E_.tolist() == [0.0, 0.0]
    wish_N = np.subtract(*made.predict({"x": np.array([[-1.0], [0.0]])})[0].T)
    assert wish_N[0] > wish_N[1]


def test_queries_without_the_strongest_still_teach_the_score() -> None:
    x_ND, scores_NE = soft()
    scores_NE[100:, 0] = np.nan
    mean_NE, _ = Gap(LINEAR).fit({"x": x_ND}, scores_NE).predict({"x": x_ND})
    assert np.corrcoef(mean_NE[:, 1], scores_NE[:, 1])[0, 1] > 0.8
