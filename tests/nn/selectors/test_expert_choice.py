from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import RoutingError
from turnout.nn import ExpertChoice, RoutingContext


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 8), st.floats(0.1, 1))
def test_every_expert_takes_its_best_and_all_the_same_number(seed: int, tokens: int, experts: int, part: float) -> None:
    logits_TE = torch.randn(tokens, experts, generator=torch.Generator().manual_seed(seed))
    k = part * experts
    plan = ExpertChoice(k)(logits_TE)
    plan.check()
    assert plan.counts_E.unique().numel() == 1
    assert plan.counts_E[0].item() == min(tokens, -int(-(tokens * k / experts - 1e-6) // 1))
    for expert in range(experts):
        taken = logits_TE[plan.chosen_TE[:, expert], expert]
        left = logits_TE[~plan.chosen_TE[:, expert], expert]
        assert not left.numel() or taken.min() >= left.max()


def test_a_large_batch_without_remainder_is_not_rounded_up() -> None:
    plan = ExpertChoice(1.2)(torch.randn(50_000, 8))
    assert plan.counts_E.tolist() == [7500] * 8


def test_sequences_compete_among_themselves() -> None:
    torch.manual_seed(0)
    logits_TE, sequence_T = torch.randn(12, 4), torch.tensor([7, 7, 7, 7, 2, 2, 2, 2, 2, 2, 2, 2])
    plan = ExpertChoice(2, unit="sequence")(logits_TE, RoutingContext(sequence_T=sequence_T))
    for number, size in ((7, 4), (2, 8)):
        own_T = sequence_T == number
        alone = ExpertChoice(2)(logits_TE[own_T])
        assert torch.equal(plan.chosen_TE[own_T], alone.chosen_TE)
        assert plan.chosen_TE[own_T].sum(0).tolist() == [size // 2] * 4


def test_padding_neither_competes_nor_counts_for_capacity() -> None:
    logits_TE, mask_T = torch.randn(10, 2), torch.arange(10) < 6
    logits_TE[6:] += 100
    plan = ExpertChoice(1)(logits_TE, RoutingContext(mask_T=mask_T))
    assert torch.equal(plan.chosen_TE[:6], ExpertChoice(1)(logits_TE[:6]).chosen_TE)
    assert not plan.chosen_TE[6:].any()


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [("linear", 1, 2, 3), ("linear_reverse", 3, 2, 1), ("cosine", 1, 2, 3), ("cosine_reverse", 3, 2, 1)],
)
def test_capacity_follows_time(schedule: str, start: int, middle: int, end: int) -> None:
    select = ExpertChoice(schedule=schedule, k_min=1, k_max=3)
    for time, k in ((0.0, start), (0.5, middle), (1.0, end)):
        plan = select(torch.randn(12, 4), RoutingContext(time_T=torch.full((12,), time)))
        assert plan.counts_E.tolist() == [3 * k] * 4


def test_each_sequence_has_its_own_time() -> None:
    sequence_T = torch.arange(2).repeat_interleave(8)
    context = RoutingContext(sequence_T=sequence_T, time_T=sequence_T.float())
    select = ExpertChoice(schedule="linear_reverse", k_min=0, k_max=2, unit="sequence")
    plan = select(torch.randn(16, 4), context)
    assert [int(plan.chosen_TE[sequence_T == s].sum()) for s in (0, 1)] == [16, 0]


def test_the_future_leaks_as_the_limits_say() -> None:
    """Not for causal models: a later token takes an earlier one's place."""
    logits_TE = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    later_TE = torch.tensor([[1.0, 0.0], [9.0, 1.0]])
    first, second = ExpertChoice(1)(logits_TE), ExpertChoice(1)(later_TE)
    assert first.chosen_TE[0].tolist() != second.chosen_TE[0].tolist()


@pytest.mark.parametrize(
    ("select", "context", "message"),
    [
        (ExpertChoice(5), RoutingContext(), "got k=5, E=4"),
        (ExpertChoice(1, unit="sequence"), RoutingContext(), "needs the context's sequence_T"),
        (ExpertChoice(1, schedule="linear"), RoutingContext(time_T=torch.zeros(2)), "time_T must have shape"),
    ],
)
def test_what_cannot_work_is_named(select: ExpertChoice, context: RoutingContext, message: str) -> None:
    with pytest.raises(RoutingError, match=message):
        select(torch.zeros(3, 4), context)
