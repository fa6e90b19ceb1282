"""Ridge regression against the closed form, and its standard error against what happens on new draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from turnout.estimators._linear import Design
from turnout.estimators.ridge import Ridge
from turnout.features import Floats


def closed_form(x_ND: Floats, scores_N: Floats, penalty: float) -> Floats:
    """Predictions on the rows themselves by the textbook, on the design that the estimator scales."""
    design_ND = Design({"x": x_ND}, ("x",)).x_ND
    gram_DD = design_ND.T @ design_ND + penalty * np.eye(design_ND.shape[1])
    return scores_N.mean() + design_ND @ np.linalg.solve(gram_DD, design_ND.T @ (scores_N - scores_N.mean()))


def test_a_full_matrix_gets_the_closed_form(linear: Any) -> None:
    x_ND, scores_NE, _ = linear(80)
    mean_NE, _ = Ridge(on=("x",), penalty=3.0).fit({"x": x_ND}, scores_NE).predict({"x": x_ND})
    wanted_NE = np.stack([closed_form(x_ND, scores_N, 3.0) for scores_N in scores_NE.T], axis=1)
    assert np.allclose(mean_NE, np.clip(wanted_NE, 0, 1), atol=1e-3)


def test_missing_scores_are_left_out_per_expert(linear: Any) -> None:
    x_ND, scores_NE, _ = linear(120)
    scores_NE[np.random.default_rng(1).uniform(size=scores_NE.shape) < 0.4] = np.nan
    mean_NE, _ = Ridge(on=("x",), penalty=3.0).fit({"x": x_ND}, scores_NE).predict({"x": x_ND})
    design_ND = Design({"x": x_ND}, ("x",)).x_ND
    for column in range(3):
        seen_N = np.isfinite(scores_NE[:, column])
        seen_ND, left_N = design_ND[seen_N], scores_NE[seen_N, column] - scores_NE[seen_N, column].mean()
        weights_D = np.linalg.solve(seen_ND.T @ seen_ND + 3.0 * np.eye(6), seen_ND.T @ left_N)
        wanted_N = scores_NE[seen_N, column].mean() + design_ND @ weights_D
        assert np.allclose(mean_NE[:, column], np.clip(wanted_N, 0, 1), atol=2e-3)


def test_sparse_and_dense_agree_where_columns_are_centred(linear: Any, sparse: Any) -> None:
    x_ND, scores_NE, _ = linear(150)
    x_ND -= x_ND.mean(axis=0)
    scores_NE[::4, 0] = np.nan
    dense_NE, _ = Ridge(on=("x",), penalty=1.0).fit({"x": x_ND}, scores_NE).predict({"x": x_ND})
    rows = {"x": sparse(x_ND)}
    sparse_NE, _ = Ridge(on=("x",), penalty=1.0).fit(rows, scores_NE).predict(rows)
    assert np.allclose(dense_NE, sparse_NE, atol=3e-3)


def test_dense_and_sparse_signals_together_see_both(linear: Any, sparse: Any) -> None:
    x_ND, _, _ = linear(400, width=2, noise=0.0)
    scores_N1 = np.clip(0.5 + 0.1 * x_ND[:, :1] - 0.1 * x_ND[:, 1:], 0, 1)
    features = {"left": x_ND[:, :1], "right": sparse(x_ND[:, 1:])}
    mean_N1, _ = Ridge(on=("left", "right")).fit(features, scores_N1).predict(features)
    assert np.abs(mean_N1 - scores_N1).mean() < 0.01


def test_noise_calls_for_a_larger_penalty(linear: Any) -> None:
    quiet, loud = (
        Ridge(on=("x",)).fit({"x": x_ND}, scores_NE).penalty_
        for x_ND, scores_NE, _ in (linear(300, width=40, noise=0.01), linear(300, width=40, noise=1.0))
    )
    assert loud > 10 * quiet


def test_difficulty_that_all_experts_share_does_not_set_the_penalty() -> None:
    """A strong common signal makes small penalties best for squared error; choices need the differences."""
    random = np.random.default_rng(0)
    x_ND = random.normal(size=(600, 60)).astype(np.float32)
    common_N1 = 0.15 * x_ND[:, :1]
    scores_NE = 0.5 + common_N1 + 0.02 * x_ND[:, 1:4] + 0.3 * random.normal(size=(600, 3))
    shared = Ridge(on=("x",)).fit({"x": x_ND}, scores_NE).penalty_
    single = Ridge(on=("x",)).fit({"x": x_ND}, scores_NE.mean(axis=1, keepdims=True)).penalty_
    assert shared > single


def test_the_standard_error_covers_the_truth(linear: Any) -> None:
    inside = []
    for seed in range(20):
        x_ND, scores_NE, truth_NE = linear(60, noise=0.2, seed=seed)
        mean_NE, se_NE = Ridge(on=("x",), penalty=1.0).fit({"x": x_ND}, scores_NE).predict({"x": x_ND})
        inside.append(np.abs(mean_NE - truth_NE) < 1.96 * se_NE)
    assert 0.9 < np.mean(inside) <= 1.0


def test_far_away_queries_are_less_certain(linear: Any) -> None:
    x_ND, scores_NE, _ = linear(200)
    fitted = Ridge(on=("x",)).fit({"x": x_ND}, scores_NE)
    near_1E, far_1E = (fitted.predict({"x": x_ND[:1] * 0 + distance})[1] for distance in (0.0, 10.0))
    assert (far_1E > 3 * near_1E).all()


def test_many_columns_keep_their_leverage_near_the_exact_one() -> None:
    """Beyond the 64 directions that are kept, the mean variance stands in."""
    random = np.random.default_rng(2)
    x_ND = (random.normal(size=(500, 150)) * np.geomspace(3, 0.1, 150)).astype(np.float32)
    fitted = Ridge(on=("x",), penalty=5.0).fit({"x": x_ND}, random.uniform(size=(500, 1)))
    design_ND = Design({"x": x_ND}, ("x",)).x_ND
    inverse_DD = np.linalg.inv(design_ND.T @ design_ND + 5.0 * np.eye(151))
    exact_N = np.einsum("nd,de,ne->n", design_ND, inverse_DD, design_ND)
    _, se_N1 = fitted.predict({"x": x_ND})
    assert np.allclose(se_N1[:, 0] ** 2 / fitted.variance_E_[0], exact_N, rtol=0.15)


def test_importance_weights_count_by_effective_sample_size(linear: Any) -> None:
    x_ND, scores_NE, _ = linear(100)
    features = {"x": x_ND}
    even_NE, _ = Ridge(on=("x",), penalty=50.0).fit(features, scores_NE).predict(features)
    large = np.full(scores_NE.shape, 16.0)
    same_NE, _ = Ridge(on=("x",), penalty=50.0).fit(features, scores_NE, weights_NE=large).predict(features)
    assert np.allclose(even_NE, same_NE, atol=1e-4)


def test_a_column_that_never_varies_is_harmless(linear: Any) -> None:
    x_ND, scores_NE, _ = linear(50)
    fitted = Ridge(on=("x", "flat")).fit({"x": x_ND, "flat": np.ones((50, 2), np.float32)}, scores_NE)
    assert np.isfinite(fitted.predict({"x": x_ND, "flat": np.full((50, 2), 7, np.float32)})[0]).all()


@pytest.mark.parametrize("rows", [1, 2])
def test_a_log_of_one_or_two_queries_is_fitted(rows: int) -> None:
    features = {"x": np.eye(2, dtype=np.float32)[:rows]}
    mean_NE, se_NE = Ridge(on=("x",)).fit(features, np.full((rows, 2), 0.25)).predict(features)
    assert np.allclose(mean_NE, 0.25)
    assert np.isfinite(se_NE).all()
