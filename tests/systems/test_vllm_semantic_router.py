from __future__ import annotations

import numpy as np
import pytest

from turnout.systems.vllm_semantic_router import _area, _aucs, _interval


def test_the_area_is_the_chance_of_a_pair_in_order() -> None:
    rng = np.random.default_rng(0)
    value_N, worth_N = rng.integers(0, 6, 80).astype(float), rng.random(80) < 0.4
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in value_N[worth_N] for b in value_N[~worth_N]
    ]  # fmt: skip
    found = _aucs(value_N, worth_N, np.arange(80))
    assert found[0] == pytest.approx(np.mean(pairs))
    interval = _interval(found)
    assert interval.low < interval.mean < interval.high


def test_weights_count_as_repeats() -> None:
    tie_N, worth_N = np.array([0, 0, 1, 2]), np.array([True, False, False, True])
    twice = _area(np.array([2.0, 1.0, 1.0, 1.0]), tie_N, worth_N)
    assert twice == pytest.approx(np.mean([0.5, 0.5, 1.0, 0.0, 0.0, 1.0]))
