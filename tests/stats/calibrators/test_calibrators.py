from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout import registry, state
from turnout.errors import NotFittedError, ParameterError
from turnout.stats import Calibrator, Isotonic, Platt, expected_calibration_error

unit = st.floats(0, 1, allow_subnormal=False)
pairs = st.lists(st.tuples(unit, unit, st.floats(0.1, 10)), min_size=1, max_size=50)


def noisy(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident predictions of coin flips."""
    rng = np.random.default_rng(0)
    truth_N = rng.random(n)
    return truth_N**2 / (truth_N**2 + (1 - truth_N) ** 2), (rng.random(n) < truth_N).astype(float)


def every() -> list[Calibrator]:
    return [registry.create("calibrator", name) for name in registry.names("calibrator")]


def test_both_are_registered() -> None:
    assert registry.names("calibrator") == ("isotonic", "platt")


@given(pairs)
@settings(max_examples=100, deadline=None)
def test_output_is_monotone_and_in_range(rows: list[tuple[float, float, float]]) -> None:
    predicted_N, scores_N, weights_N = np.array(rows).T
    grid = np.linspace(-0.5, 1.5, 101)
    for calibrator in every():
        applied = calibrator.fit(predicted_N, scores_N, weights_N).apply(grid)
        assert (np.diff(applied) >= -1e-12).all(), calibrator
        assert applied.min() >= 0
        assert applied.max() <= 1


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_the_weighted_mean_is_kept(rows: list[tuple[float, float, float]]) -> None:
    predicted_N, scores_N, weights_N = np.array(rows).T
    applied_N = Isotonic().fit(predicted_N, scores_N, weights_N).apply(predicted_N)
    assert np.average(applied_N, weights=weights_N) == pytest.approx(np.average(scores_N, weights=weights_N), abs=1e-6)


@pytest.mark.parametrize("calibrator", every(), ids=lambda c: c.name)
class TestEvery:
    def test_it_calibrates(self, calibrator: Calibrator) -> None:
        predicted_N, scores_N = noisy()
        applied_N = calibrator.clone().fit(predicted_N[::2], scores_N[::2]).apply(predicted_N[1::2])
        before = expected_calibration_error(predicted_N[1::2], scores_N[1::2])
        assert expected_calibration_error(applied_N, scores_N[1::2]) < 0.5 * before

    def test_weights_are_counts(self, calibrator: Calibrator) -> None:
        predicted_N, scores_N = noisy(200)
        weights_N = np.random.default_rng(1).integers(1, 4, 200)
        weighted = calibrator.clone().fit(predicted_N, scores_N, weights_N.astype(float))
        repeated = calibrator.clone().fit(np.repeat(predicted_N, weights_N), np.repeat(scores_N, weights_N))
        assert weighted.apply(predicted_N) == pytest.approx(repeated.apply(predicted_N), abs=1e-6)

    def test_nan_is_left_out_and_kept(self, calibrator: Calibrator) -> None:
        predicted_N, scores_N = noisy(300)
        holes_N, scores_with_holes_N = predicted_N.copy(), scores_N.copy()
        holes_N[::5], scores_with_holes_N[1::5] = np.nan, np.nan
        kept = np.arange(300) % 5 > 1
        fitted = calibrator.clone().fit(holes_N, scores_with_holes_N)
        clean = calibrator.clone().fit(predicted_N[kept], scores_N[kept])
        assert fitted.apply(predicted_N) == pytest.approx(clean.apply(predicted_N))
        assert np.isnan(fitted.apply(np.array([[np.nan, 0.5]]))).tolist() == [[True, False]]

    def test_state_round_trip_is_bit_equal(self, calibrator: Calibrator) -> None:
        fitted = calibrator.clone().fit(*noisy(100))
        arrays: state.Arrays = {}
        loaded = state.unpack(state.pack(fitted, arrays, "c"), arrays)
        grid = np.linspace(0, 1, 50)
        assert loaded.apply(grid).tobytes() == fitted.apply(grid).tobytes()

    def test_misuse(self, calibrator: Calibrator) -> None:
        with pytest.raises(NotFittedError):
            calibrator.clone().apply(np.zeros(2))
        with pytest.raises(ValueError, match="no finite pair"):
            calibrator.clone().fit(np.array([np.nan]), np.array([1.0]))
        with pytest.raises(ValueError, match="lengths differ"):
            calibrator.clone().fit(np.zeros(2), np.zeros(3))


@given(pairs)
@settings(max_examples=100, deadline=None)
def test_isotonic_agrees_with_scikit_learn(rows: list[tuple[float, float, float]]) -> None:
    from sklearn.isotonic import IsotonicRegression

    predicted_N, scores_N, weights_N = np.round(np.array(rows), 6).T
    theirs = IsotonicRegression(out_of_bounds="clip").fit(predicted_N, scores_N, sample_weight=weights_N)
    grid = np.concatenate([predicted_N, np.linspace(0, 1, 31)])
    assert Isotonic().fit(predicted_N, scores_N, weights_N).apply(grid) == pytest.approx(theirs.predict(grid), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_platt_agrees_with_scikit_learn(seed: int) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    predicted_N = rng.uniform(0.02, 0.98, 400)
    scores_N = (rng.random(400) < predicted_N**2).astype(float)
    weights_N = rng.uniform(0.2, 3, 400)
    z_N1 = np.log(predicted_N / (1 - predicted_N))[:, None]
    theirs = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(z_N1, scores_N, sample_weight=weights_N)
    ours = Platt(ridge=0.0).fit(predicted_N, scores_N, weights_N)
    assert ours.slope_ == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    assert ours.intercept_ == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_platt_on_hard_cases() -> None:
    separable = Platt().fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert np.isfinite([separable.slope_, separable.intercept_]).all()
    backwards = Platt().fit(np.linspace(0.1, 0.9, 20), 1 - np.linspace(0.1, 0.9, 20))
    assert backwards.slope_ == 0.0
    assert backwards.apply(np.array([0.1, 0.9])) == pytest.approx([0.5, 0.5])
    constant = Platt(ridge=0.0).fit(np.full(10, 0.5), np.repeat([0.0, 1.0], 5))
    assert constant.apply(np.array([0.5])) == pytest.approx([0.5])
    all_right = Platt().fit(np.linspace(0.1, 0.9, 20), np.ones(20))
    assert all_right.apply(np.array([0.1, 0.9])).min() > 0.9


def test_parameters_are_checked() -> None:
    with pytest.raises(ParameterError, match="ridge"):
        Platt(ridge=-1.0).fit(np.array([0.5]), np.array([0.5]))


def test_calibration_error() -> None:
    predicted = np.array([[0.05, 0.95], [0.95, np.nan]])
    scores = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert expected_calibration_error(predicted, scores) == pytest.approx((0.05 + abs(1.9 - 1.0)) / 3)
    assert np.isnan(expected_calibration_error(np.array([np.nan]), np.array([1.0])))
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0.0


def test_isotonic_regression_of_many_predictions_pools_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    from turnout.stats.calibrators import isotonic

    random = np.random.default_rng(0)
    predicted_N = random.random(4000)
    scores_N = (random.random(4000) < predicted_N**2) * 1.0
    fine = isotonic.Isotonic().fit(predicted_N, scores_N)
    monkeypatch.setattr(isotonic, "MOST", 500)
    coarse = isotonic.Isotonic().fit(predicted_N, scores_N)
    grid = np.linspace(0.05, 0.95, 50)
    assert len(coarse.x_) <= 500
    assert np.abs(fine.apply(grid) - coarse.apply(grid)).max() < 0.02
