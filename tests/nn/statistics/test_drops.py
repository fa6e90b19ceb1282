from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import RoutingError
from turnout.nn import FFN, Capacity, LinearGate, RoutedLayer, RoutingStats, TopK
from turnout.nn.statistics import Trace, drop_by_position, dropped, resampled


def slow_drops(rows: list[list[int]], experts: int, capacity: float) -> list[int]:
    """First come, first served, one token at a time."""
    room = -(-len(rows) * len(rows[0]) * capacity // experts)
    queue = [0] * experts
    lost = []
    for row in rows:
        lost.append(sum(queue[e] >= room for e in row))
        for e in row:
            queue[e] += 1
    return lost


@given(st.lists(st.integers(0, 3), min_size=4, max_size=30), st.sampled_from([0.5, 1.0, 1.5]))
def test_drops_are_first_come_first_served(choices: list[int], capacity: float) -> None:
    trace = Trace.of(torch.tensor(choices)[:, None], 4)
    lost = slow_drops([[e] for e in choices], 4, capacity)
    assert dropped(trace, capacity) == pytest.approx(sum(lost) / len(choices))
    assert drop_by_position(trace, capacity, bins=len(choices)).tolist() == lost


def test_drops_rise_along_the_sequence() -> None:
    drawn = torch.rand(40 * 64, 8, generator=torch.Generator().manual_seed(0)) + torch.linspace(0, 0.5, 8)
    shares = drop_by_position(Trace.of(drawn.topk(2).indices, 8, length=64), 1.0, bins=8).tolist()
    assert shares == sorted(shares)
    assert (shares[0], shares[-1] > 0.3) == (0, True)


def test_room_for_all_drops_nothing() -> None:
    assert dropped(Trace.of(torch.zeros(8, 1, dtype=torch.long), 4), capacity=4.0) == 0


def test_a_capacity_without_remainder_is_not_rounded_up() -> None:
    trace = Trace.of(torch.zeros(25, 1, dtype=torch.long), 5)
    assert dropped(trace, 1.2) == pytest.approx((25 - 6) / 25)


def test_each_sequence_has_its_own_queue() -> None:
    choices = torch.tensor([0, 0, 0, 0])[:, None]
    assert dropped(Trace.of(choices, 2), 1.0) == 0.5
    assert drop_by_position(Trace.of(choices, 2, length=2), 1.0, bins=2).tolist() == [0.0, 1.0]


def test_what_the_dispatcher_dropped_is_recorded() -> None:
    stats = RoutingStats()
    capacity = Capacity(1.0)
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=capacity, statistics=stats)
    plan = layer(torch.randn(1, 32, 8)).plan
    lost = int((plan.mask_TK & ~plan.kept_TK).sum())
    assert lost > 0
    assert dropped(stats.trace()) == pytest.approx(lost / 64)
    assert stats.summary()["dropped"] == dropped(stats.trace())
    assert int(stats.counts_E.sum()) == 64  # demand, not what was served
    assert dropped(resampled(stats.trace(), 0)) == pytest.approx(lost / 64, abs=0.25)


def test_dropless_dispatch_drops_nothing() -> None:
    stats = RoutingStats()
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), statistics=stats)
    layer(torch.randn(1, 32, 8))
    assert drop_by_position(stats.trace()).tolist() == [0.0] * 8


def test_sequences_shorter_than_the_stretches_are_named() -> None:
    with pytest.raises(RoutingError, match="8 stretches need sequences of as many tokens, got one of 4"):
        drop_by_position(Trace.of(torch.zeros(4, 1, dtype=torch.long), 2))
