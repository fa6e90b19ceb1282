from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import Plan
from turnout.nn import statistics as known
from turnout.nn.statistics import Trace


def test_sequences_are_put_together_and_positions_count_within_them() -> None:
    sequence_T = torch.tensor([7, 3, 7, 3, 3])
    trace = Trace.of(torch.arange(5)[:, None], 5, sequence_T=sequence_T, token_T=torch.arange(5) * 10)
    assert trace.sequence_T.tolist() == [3, 3, 3, 7, 7]
    assert trace.position_T.tolist() == [0, 1, 2, 0, 1]
    assert trace.idx_TK[:, 0].tolist() == [1, 3, 4, 0, 2]
    assert trace.need("token_T").tolist() == [10, 30, 40, 0, 20]


def test_empty_slots_are_no_choice() -> None:
    trace = Trace.of(torch.tensor([[0, 3], [3, 3], [1, 2]]), 3)
    assert trace.counts_E.tolist() == [1, 1, 1]
    assert trace.chosen_TE.int().tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert trace.top_T.tolist()[1] == 3


def test_the_heaviest_expert_is_by_weight_not_by_slot() -> None:
    plan = Plan(torch.tensor([[0, 1]]), torch.tensor([[0.2, 0.8]]), torch.rand(1, 2), torch.rand(1, 2))
    assert Trace.of_plan(plan).top_T.tolist() == [1]


def test_windows_never_cross_a_sequence() -> None:
    trace = Trace.of(torch.tensor([0, 0, 1, 1, 2, 2])[:, None], 3, length=3)
    assert trace.windows(2).tolist() == [[2, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 2]]
    assert trace.windows(2, stride=2).tolist() == [[2, 0, 0], [0, 1, 1]]
    with pytest.raises(RoutingError, match="no sequence of the trace has 4 tokens"):
        trace.windows(4)
    with pytest.raises(RoutingError, match="at least 1"):
        trace.windows(0)


def test_what_was_not_recorded_is_named() -> None:
    trace = Trace.of(torch.zeros(3, 1, dtype=torch.long), 2)
    with pytest.raises(RoutingError, match="needs token_T: set it in the RoutingContext"):
        trace.need("token_T")
    assert Trace.of(trace.idx_TK, 2, task_T=torch.tensor([0, 1, 0])).only(0).tokens == 2


@pytest.mark.parametrize("experts", [1, 2])
def test_indices_out_of_range_are_refused(experts: int) -> None:
    with pytest.raises(RoutingError, match=f"0 to {experts}"):
        Trace.of(torch.tensor([[3]]), experts)


def test_shapes_must_agree() -> None:
    with pytest.raises(RoutingError, match=r"a trace of 3 tokens needs task_T \[3\], got \(2,\)"):
        Trace.of(torch.zeros(3, 1, dtype=torch.long), 2, task_T=torch.zeros(2))


@pytest.mark.parametrize("name", sorted(set(known.__all__) - {"Controlled", "Trace", "controlled", "resampled"}))
def test_a_trace_without_tokens_is_refused_by_every_statistic(name: str) -> None:
    trace = Trace.of(torch.zeros(3, 2, dtype=torch.int64), 4, token_T=torch.zeros(3), task_T=torch.zeros(3))
    nothing = trace.only(1)
    two = name in {"affinity", "delta_frequency", "divergence", "flips", "mutual_information"}
    two |= name in {"next_layer_recall", "overlap"}
    with pytest.raises(RoutingError):
        getattr(known, name)(nothing, nothing) if two else getattr(known, name)(nothing)
