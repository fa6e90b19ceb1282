"""Calibration tables."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.routers.calibration import Calibration
from turnout.stats import expected_calibration_error


@pytest.mark.parametrize("n", [200, 3000])
def test_overconfident_estimates_are_mended(n):
    rng = np.random.default_rng(0)
    truth_N1 = rng.uniform(0.3, 0.7, (n, 1))
    predicted_N1 = 0.5 + 2.4 * (truth_N1 - 0.5)
    scores_N1 = (rng.random((n, 1)) < truth_N1).astype(float)
    fitted = Calibration.fit(predicted_N1, scores_N1)
    fresh_N1 = rng.uniform(0.3, 0.7, (20000, 1))
    quality_N1, se_N1 = fitted.apply(0.5 + 2.4 * (fresh_N1 - 0.5), np.full_like(fresh_N1, 0.1))
    assert np.abs(quality_N1 - fresh_N1).mean() < 0.08  # 0.14 before
    assert expected_calibration_error(quality_N1, fresh_N1) < 0.08
    assert se_N1.mean() == pytest.approx(0.1 / 2.4, rel=0.3)


def test_it_is_monotone_and_stays_in_bounds():
    rng = np.random.default_rng(1)
    predicted_NE = rng.random((2000, 2))
    fitted = Calibration.fit(predicted_NE, (rng.random((2000, 2)) < predicted_NE).astype(float))
    assert (np.diff(fitted.table_G) > 0).all()
    wild_NE = np.array([[-5.0, 5.0], [np.inf, -np.inf]])
    quality_NE, _ = fitted.apply(wild_NE, np.zeros_like(wild_NE))
    assert ((quality_NE >= 0) & (quality_NE <= 1)).all()


def test_few_rows_change_nothing():
    fitted = Calibration.fit(np.full((29, 1), 0.2), np.ones((29, 1)))
    assert fitted.apply(np.array([[0.2]]), np.array([[0.1]]))[0][0, 0] == pytest.approx(0.2)


@pytest.mark.parametrize("n", [40, 3000])
def test_it_never_changes_which_expert_looks_best(n):
    rng = np.random.default_rng(2)
    predicted_NE = rng.beta(2, 2, (n, 5))
    scores_NE = np.where(rng.random((n, 5)) < 0.5, np.nan, rng.random((n, 5)) < predicted_NE**2)
    quality_NE, _ = Calibration.fit(predicted_NE, scores_NE).apply(predicted_NE, np.zeros((n, 5)))
    assert np.array_equal(quality_NE.argmax(axis=1), predicted_NE.argmax(axis=1))
