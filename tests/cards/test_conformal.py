"""The promised coverage holds on simulated exchangeable data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.cards.conformal import lowest, slack
from turnout.errors import ParameterError


def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    expert_N = rng.integers(0, 6, count)
    scores_NE = rng.standard_t(3, size=(count, 6))
    scores_NE[np.arange(count), expert_N] += 1.5
    return scores_NE, expert_N


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_cover_as_promised(coverage: float) -> None:
    """The mean over many calibrations lies between coverage and coverage + 1 / (n + 1), as the theorem says."""
    rng, n, covered = np.random.default_rng(0), 99, []
    for _ in range(400):
        delta = slack(*draw(rng, n), coverage)
        scores_NE, expert_N = draw(rng, 200)
        covered.append((scores_NE[np.arange(200), expert_N] >= scores_NE.max(axis=1) - delta).mean())
    error = 4 * np.std(covered) / np.sqrt(len(covered))
    assert coverage - error <= np.mean(covered) <= coverage + 1 / (n + 1) + error


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_the_floor_keeps_as_promised(coverage: float) -> None:
    rng = np.random.default_rng(1)
    kept = [(rng.normal(size=300) >= lowest(rng.normal(size=59), coverage)).mean() for _ in range(600)]
    assert coverage - 0.01 <= np.mean(kept) <= coverage + 1 / 60 + 0.01


@settings(max_examples=50)
@given(st.integers(1, 40), st.floats(0.01, 0.99))
def test_too_few_texts_promise_everything(count: int, coverage: float) -> None:
    scores_NE, expert_N = draw(np.random.default_rng(count), count)
    if math.ceil(round((count + 1) * coverage, 9)) > count:
        assert slack(scores_NE, expert_N, coverage) == math.inf
    else:
        assert 0.0 <= slack(scores_NE, expert_N, coverage) < math.inf


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0])
def test_coverage_is_a_probability(coverage: float) -> None:
    with pytest.raises(ParameterError, match="coverage"):
        slack(np.zeros((3, 2)), np.zeros(3, dtype=int), coverage)
    with pytest.raises(ParameterError, match="coverage"):
        lowest(np.zeros(3), coverage)
