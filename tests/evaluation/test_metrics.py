"""Every metric against values worked out by hand or published."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from turnout.evaluation import metrics


def test_sweep_trades_quality_for_cost_and_breaks_ties_to_the_cheaper() -> None:
    quality_NE = np.array([[0.5, 0.9], [0.6, 0.6]])
    cost_NE = np.array([[1.0, 5.0], [3.0, 2.0]])
    choice_NP = metrics.sweep(quality_NE, cost_NE, np.array([0.0, 0.05, 0.2]))
    assert choice_NP.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_lambda_grid_starts_at_zero_and_reaches_the_cheapest() -> None:
    rng = np.random.default_rng(0)
    quality_NE, cost_NE = rng.random((300, 4)), np.tile([1.0, 2.0, 4.0, 8.0], (300, 1))
    lambdas = metrics.lambda_grid(quality_NE, cost_NE)
    assert lambdas[0] == 0
    assert (np.diff(lambdas) > 0).all()
    last = metrics.sweep(quality_NE, cost_NE, lambdas)[:, -1]
    assert (last == 0).mean() > 0.97


def test_lambda_grid_leaves_rounding_out() -> None:
    rng = np.random.default_rng(0)
    quality_NE, cost_NE = rng.random((300, 3)), np.tile([1e-4, 1e-4, 3e-3], (300, 1))
    apart_NE = cost_NE + np.array([0.0, 1e-19, 0.0])
    assert metrics.lambda_grid(quality_NE, apart_NE) == pytest.approx(metrics.lambda_grid(quality_NE, cost_NE))


def test_lambda_grid_without_any_trade_is_zero_alone() -> None:
    assert metrics.lambda_grid(np.full((5, 2), 0.5), np.ones((5, 2))).tolist() == [0.0]


def test_hull_drops_points_below_a_chord_and_past_the_best() -> None:
    cost_P, quality_P = np.array([4.0, 1.0, 2.0, 3.0, 5.0]), np.array([0.9, 0.1, 0.3, 0.8, 0.85])
    assert metrics.hull(cost_P, quality_P).tolist() == [1, 3, 0]


points = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        hnp.arrays(float, n, elements=st.floats(0.01, 10)), hnp.arrays(float, n, elements=st.floats(0, 1))
    )
)


@given(points)
def test_hull_is_concave_rising_and_above_every_point(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    cost_P, quality_P = drawn
    vertices = metrics.hull(cost_P, quality_P)
    x, y = cost_P[vertices], quality_P[vertices]
    assert (np.diff(x) > 0).all() or len(x) == 1
    assert (np.diff(y) > 0).all()
    if len(x) > 2:
        slopes = np.diff(y) / np.diff(x)
        assert (np.diff(slopes) <= 1e-9 * np.maximum(1, np.abs(slopes[:-1]))).all()
    inside = cost_P >= x[0]
    assert (np.interp(cost_P[inside], x, y) >= quality_P[inside] - 1e-9).all()


def test_aiq_of_one_expert_is_its_quality_from_its_cost_on() -> None:
    assert metrics.aiq(np.array([1.0]), np.array([0.6]), 1.0, 3.0) == pytest.approx(0.6)


def test_aiq_comes_from_the_null_router_below_the_cheapest_point() -> None:
    # a line from (0, 0) to (4, 0.8), taken over costs 2 to 4: mean of 0.4 and 0.8
    assert metrics.aiq(np.array([4.0]), np.array([0.8]), 2.0, 4.0) == pytest.approx(0.6)


def test_aiq_by_hand() -> None:
    # the hull goes (1, .4) – (3, .8) and is flat to 5; the point (2, .5) lies below: areas 1.2 + 1.6 over 4
    cost_P, quality_P = np.array([1.0, 2.0, 3.0]), np.array([0.4, 0.5, 0.8])
    assert metrics.aiq(cost_P, quality_P, 1.0, 5.0) == pytest.approx(0.7)


def test_aiq_with_vertices_from_elsewhere_never_beats_the_hull_of_the_test_side() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        cost_P, quality_P = rng.random(8) + 0.1, rng.random(8)
        honest = metrics.hull(cost_P, rng.random(8))
        low, high = cost_P.min(), cost_P.max()
        assert (
            metrics.aiq(cost_P, quality_P, low, high, vertices=honest)
            <= metrics.aiq(cost_P, quality_P, low, high) + 1e-12
        )


def test_aiq_of_an_empty_range_is_nan() -> None:
    assert np.isnan(metrics.aiq(np.array([1.0]), np.array([0.5]), 2.0, 2.0))


def test_strong_calls_run_from_nobody_to_everybody_at_eleven_thresholds() -> None:
    strong_NT = metrics.strong_calls(np.arange(100.0))
    assert strong_NT.shape == (100, 11)
    assert strong_NT.mean(axis=0) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], abs=0.011)
    assert not strong_NT[:, 0].any()
    assert strong_NT[:, -1].all()


def test_a_linear_curve_recovers_half_the_gap() -> None:
    share_T = np.linspace(0, 1, 11)
    curve = metrics.Curve(share_T, 0.6 + 0.2 * share_T, 0.6, 0.8)
    assert curve.apgr == pytest.approx(0.5)
    assert curve.cpt(0.5) == pytest.approx(0.5)
    assert curve.cpt(0.8) == pytest.approx(0.8)


def test_apgr_by_hand() -> None:
    # a triangle that reaches the strong model at half the calls: area .25 + .5 of the gap
    curve = metrics.Curve(np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.9, 0.9]), 0.5, 0.9)
    assert curve.apgr == pytest.approx(0.75)
    assert curve.cpt(0.5) == pytest.approx(0.25)
    assert curve.cpt(0.8) == pytest.approx(0.4)


def test_cpt_takes_the_first_crossing_and_is_nan_where_there_is_none() -> None:
    curve = metrics.Curve(np.array([0.0, 0.2, 0.4, 1.0]), np.array([0.5, 0.8, 0.6, 0.7]), 0.5, 0.7)
    assert curve.cpt(0.5) == pytest.approx(0.2 * 0.1 / 0.3)
    low = metrics.Curve(np.array([0.0, 1.0]), np.array([0.5, 0.55]), 0.5, 0.7)
    assert np.isnan(low.cpt(0.5))


def test_a_constant_score_sends_everybody_or_nobody() -> None:
    curve = metrics.routing_curve(np.zeros(10), np.zeros(10), np.ones(10))
    assert curve.apgr == pytest.approx(0.5)


def test_resampling_with_unit_weights_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    score_N, weak_N, strong_N = rng.random(200), rng.integers(0, 2, 200) * 1.0, rng.integers(0, 2, 200) * 1.0
    curve = metrics.routing_curve(score_N, weak_N, strong_N)
    (again,) = metrics.resampled_curves(score_N, weak_N, strong_N, np.ones((1, 200)))
    assert again.accuracy_T == pytest.approx(curve.accuracy_T)
    assert again.apgr == pytest.approx(curve.apgr)


def test_resampling_equals_repeating_the_rows() -> None:
    rng = np.random.default_rng(3)
    score_N, weak_N, strong_N = rng.random(50), rng.random(50), rng.random(50)
    weights = rng.integers(0, 4, 50)
    (weighted,) = metrics.resampled_curves(score_N, weak_N, strong_N, weights[None].astype(float))
    strong_NT = np.repeat(metrics.strong_calls(score_N), weights, axis=0)
    expected = np.where(strong_NT, np.repeat(strong_N, weights)[:, None], np.repeat(weak_N, weights)[:, None])
    assert weighted.accuracy_T == pytest.approx(expected.mean(axis=0))


def test_calibration_error_by_hand() -> None:
    predicted_N, score_N = np.array([0.1, 0.1, 0.9, 0.9]), np.array([0.0, 0.0, 1.0, 0.0])
    bins = metrics.reliability(predicted_N, score_N)
    assert bins == [(pytest.approx(0.1), 0.0, 2), (pytest.approx(0.9), 0.5, 2)]
    assert metrics.calibration_error(bins) == pytest.approx(0.5 * 0.1 + 0.5 * 0.4)


def test_calibration_ignores_what_was_not_observed() -> None:
    assert metrics.reliability(np.array([0.5, 0.5]), np.array([np.nan, 1.0])) == [(0.5, 1.0, 1)]
    assert np.isnan(metrics.calibration_error([]))
