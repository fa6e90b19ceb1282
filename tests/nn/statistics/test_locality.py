from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.errors import ParameterError, RoutingError
from turnout.nn.statistics import Trace, cache_hit_rate, sch, srp


def slow_srp(choices: list[int], experts: int, length: int) -> float:
    """The definition, one threshold and one segment at a time."""
    best = 0.0
    segments = [choices[t : t + length] for t in range(len(choices) - length + 1)]
    for threshold in range(length + 1):
        hits = offered = total = 0
        for segment in segments:
            group = [e for e in range(experts) if segment.count(e) >= threshold]
            hits += sum(segment.count(e) for e in group)
            offered += len(group) * length
            total += length
        if hits:
            precision, recall = hits / offered, hits / total
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=6, max_size=20), st.integers(1, 6))
def test_srp_is_its_definition(choices: list[int], length: int) -> None:
    trace = Trace.of(torch.tensor(choices)[:, None], 5)
    assert srp(trace, length) == pytest.approx(slow_srp(choices, 5, length))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=24), st.integers(1, 5))
def test_no_cache_beats_belady_and_sch_bounds_nothing_above_one(choices: list[int], size: int) -> None:
    trace = Trace.of(torch.tensor(choices)[:, None], 6)
    rates = {policy: cache_hit_rate(trace, float(size), policy) for policy in ("lru", "lfu", "belady")}
    assert max(rates.values()) == rates["belady"] <= 1
    assert rates["belady"] == pytest.approx(best_by_search(choices, size))


def best_by_search(choices: list[int], size: int) -> float:
    """The best any cache can do, by trying all contents."""
    states = {frozenset[int](): 0}
    for expert in choices:
        after: dict[frozenset[int], int] = {}
        for held, hits in states.items():
            new = hits + (expert in held)
            pool = held | {expert}
            for kept in itertools.combinations(sorted(pool), min(size, len(pool))):
                key = frozenset(kept)
                after[key] = max(after.get(key, 0), new)
        states = after
    return max(states.values()) / len(choices)


def test_lru_and_lfu_throw_out_what_their_names_say() -> None:
    #                         0 stays by frequency, leaves by recency
    choices = torch.tensor([0, 0, 0, 1, 2, 0])[:, None]
    trace = Trace.of(choices, 4)
    assert cache_hit_rate(trace, 2.0, "lru") == pytest.approx(2 / 6)
    assert cache_hit_rate(trace, 2.0, "lfu") == pytest.approx(3 / 6)


def test_an_expert_that_is_used_is_held_whatever_left() -> None:
    """As in the authors' code: an expert used for the first time is loaded before experts that were used often."""
    trace = Trace.of(torch.tensor([0, 0, 1, 1, 2, 2, 0])[:, None], 4)
    assert cache_hit_rate(trace, 2.0, "lfu") == pytest.approx(3 / 7)  # 2 took the place of 0
    both = Trace.of(torch.tensor([[0, 1], [0, 1], [2, 3], [3, 2], [0, 1]]), 5)
    assert cache_hit_rate(both, 1.0, "lfu") == pytest.approx(3 / 10)  # 2 takes the place of 0, then 3 that of 2


def test_each_sequence_starts_with_an_empty_cache() -> None:
    choices = torch.zeros(8, 1, dtype=torch.long)
    assert cache_hit_rate(Trace.of(choices, 4)) == 7 / 8
    assert cache_hit_rate(Trace.of(choices, 4, length=2)) == 4 / 8


def test_sch_is_one_where_the_cache_holds_what_a_segment_needs() -> None:
    trace = Trace.of(torch.tensor([0, 1] * 8 + [2, 3] * 8)[:, None], 4)
    assert sch(trace, length=16, ratio=2.0) == 1
    assert sch(trace, length=16, ratio=1.0) == 0.5
    assert sch(trace, length=32, ratio=2.0) == 0.5


def test_bad_settings_are_named() -> None:
    trace = Trace.of(torch.zeros(4, 1, dtype=torch.long), 2)
    with pytest.raises(ParameterError, match="lru, lfu, belady, got 'fifo'"):
        cache_hit_rate(trace, policy="fifo")
    with pytest.raises(ParameterError, match="ratio must be above 0"):
        sch(trace, length=2, ratio=0)
    with pytest.raises(RoutingError, match="no sequence of the trace has 16 tokens"):
        srp(trace)
    with pytest.raises(RoutingError, match="no token of the trace has an expert"):
        srp(Trace.of(torch.full((4, 1), 2), 2), length=2)
