from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from turnout.stats import bootstrap_counts, bootstrap_mean, paired_bootstrap

values = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=60)


@given(values, st.integers(1, 20))
@settings(max_examples=50)
def test_the_interval_holds_the_mean_and_stays_within_the_values(numbers: list[float], groups: int) -> None:
    values_N = np.array(numbers)
    interval = paired_bootstrap(values_N, np.arange(len(values_N)) % groups, seed=0, draws=400)
    assert interval.mean == pytest.approx(values_N.mean(), abs=1e-9)
    assert values_N.min() - 1e-9 <= interval.low <= interval.mean + 1e-9
    assert interval.mean - 1e-9 <= interval.high <= values_N.max() + 1e-9


def test_it_agrees_with_scipy_where_every_row_is_its_own_group() -> None:
    values_N = np.random.default_rng(0).normal(0.1, 1.0, 400)
    ours = paired_bootstrap(values_N, seed=1, draws=4000)
    theirs = scipy_stats.bootstrap(
        (values_N,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


def test_copies_of_a_row_add_no_evidence() -> None:
    values_N = np.random.default_rng(0).normal(size=100)
    once = paired_bootstrap(values_N, seed=3)
    thrice = paired_bootstrap(np.tile(values_N, 3), np.tile(np.arange(100), 3), seed=3)
    assert thrice == pytest.approx(once)
    naive = paired_bootstrap(np.tile(values_N, 3), seed=3)
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_coverage_is_near_its_level() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for seed in range(200):
        cluster_G = rng.normal(size=60)
        groups_N = np.repeat(np.arange(60), 4)
        interval = bootstrap_mean(cluster_G[groups_N] + 0.3 * rng.normal(size=240), groups_N, seed=seed, draws=500)
        hits += interval.low <= 0.0 <= interval.high
    assert 178 <= hits <= 199


def test_rows_without_a_value_are_left_out() -> None:
    values_N = np.array([1.0, np.nan, 0.0, np.inf])
    assert paired_bootstrap(values_N, seed=0).mean == 0.5
    with pytest.raises(ValueError, match="no finite value"):
        paired_bootstrap(np.array([np.nan]), seed=0)
    with pytest.raises(ValueError, match="shape"):
        paired_bootstrap(values_N, np.zeros(3, dtype=int), seed=0)


def test_of_many_groups_the_interval_is_computed_and_agrees_with_one_that_is_drawn() -> None:
    rng = np.random.default_rng(0)
    groups_N = rng.integers(60_000, size=150_000)
    values_N = (rng.random(150_000) < 0.01 + 0.02 * (groups_N % 7 == 0)).astype(float)
    counts = bootstrap_counts(groups_N, seed=0, draws=300)
    low, high = np.quantile([float(count_N @ values_N / count_N.sum()) for count_N in counts], [0.025, 0.975])
    interval = paired_bootstrap(values_N, groups_N, seed=0)
    assert interval.mean == pytest.approx(values_N.mean())
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.15 * (high - low))
    assert paired_bootstrap(values_N, groups_N, seed=0, level=0.5).low > interval.low


def test_counts_are_the_same_draws_as_the_interval() -> None:
    groups_N = np.array([0, 0, 1, 2, 2, 2])
    values_N = np.array([0.0, 1.0, 0.5, 0.2, 0.9, 0.4])
    means = [np.average(values_N, weights=count_N) for count_N in bootstrap_counts(groups_N, seed=7, draws=300)]
    interval = paired_bootstrap(values_N, groups_N, seed=7, draws=300)
    assert np.quantile(means, [0.025, 0.975]) == pytest.approx([interval.low, interval.high])
