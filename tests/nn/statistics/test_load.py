from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import RoutingError
from turnout.nn.statistics import coefficient_of_variation, dead_experts, load, load_entropy, max_violation


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any))
def test_load_figures_stay_in_their_ranges(counts: list[int]) -> None:
    counts_E, experts = torch.tensor(counts), len(counts)
    assert float(load(counts_E).sum()) == pytest.approx(1)
    assert 0 <= max_violation(counts_E) <= experts - 1 + 1e-9
    assert 0 <= coefficient_of_variation(counts_E) <= math.sqrt(experts - 1) + 1e-9
    assert -1e-9 <= load_entropy(counts_E) <= 1 + 1e-9
    assert dead_experts(counts_E) == counts.count(0)


def test_even_load_is_the_zero_of_all_figures() -> None:
    even_E = torch.full((6,), 3)
    assert (max_violation(even_E), coefficient_of_variation(even_E)) == pytest.approx((0, 0))
    assert load_entropy(even_E) == pytest.approx(1)


def test_one_expert_with_everything_is_the_extreme() -> None:
    one_E = torch.tensor([0, 9, 0, 0])
    assert max_violation(one_E) == 3
    assert coefficient_of_variation(one_E) == pytest.approx(math.sqrt(3))
    assert (load_entropy(one_E), dead_experts(one_E)) == (0, 3)


def test_no_rows_is_an_error() -> None:
    with pytest.raises(RoutingError, match="no row was routed"):
        load(torch.zeros(3))
