from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.errors import ParameterError
from turnout.nn.statistics import (
    Trace,
    cache_hit_rate,
    chunk_sparsity,
    controlled,
    divergence,
    flips,
    max_violation,
    mutual_information,
    resampled,
    srp,
    task_information,
    token_predictability,
)


def iid(tokens: int, experts: int, k: int, seed: int, **where: object) -> Trace:
    drawn = torch.rand(tokens, experts, generator=torch.Generator().manual_seed(seed))
    skewed = drawn + torch.linspace(0, 0.3, experts)
    return Trace.of(skewed.topk(k, -1).indices, experts, **where)  # type: ignore[arg-type]


def test_resampling_keeps_marginals_and_draws_by_seed() -> None:
    trace = iid(4000, 8, 2, 0)
    first, second = resampled(trace, 1), resampled(trace, 1)
    assert torch.equal(first.idx_TK, second.idx_TK)
    assert not torch.equal(first.idx_TK, resampled(trace, 2).idx_TK)
    assert (first.counts_E / 8000 - trace.counts_E / 8000).abs().max() < 0.02


def test_independent_routing_is_at_its_control() -> None:
    trace = iid(4096, 8, 2, 3, length=128, token_T=torch.arange(4096) % 7, task_T=torch.arange(4096) % 2)
    for statistic in (srp, chunk_sparsity, token_predictability, task_information, cache_hit_rate):
        assert controlled(statistic, trace).excess == pytest.approx(0, abs=0.02), statistic
    assert controlled(flips, trace, iid(4096, 8, 2, 4)).excess == pytest.approx(0, abs=0.03)
    assert controlled(mutual_information, trace, iid(4096, 8, 2, 5)).excess == pytest.approx(0, abs=0.01)


def test_structure_stands_above_its_control() -> None:
    token_T = torch.arange(2048) // 32 % 4
    trace = Trace.of(torch.stack([token_T * 2, token_T * 2 + 1], 1), 8, length=64, token_T=token_T, task_T=token_T)
    assert controlled(srp, trace).excess > 0.3
    assert controlled(chunk_sparsity, trace).excess > 0.3
    assert controlled(token_predictability, trace).excess > 0.5
    assert controlled(task_information, trace).excess > 1.5
    assert controlled(mutual_information, trace, trace).excess > 1.5
    assert controlled(flips, trace, trace).excess < -0.5


def test_a_difference_between_corpora_needs_the_pooled_control() -> None:
    prose, code = iid(500, 8, 2, 0), Trace.of(torch.randint(4, (500, 1)), 8)
    found = controlled(divergence, prose, code, against="pooled")
    assert found.value > 0.1
    assert found.high < 0.02
    assert controlled(divergence, prose, code).excess == pytest.approx(0, abs=0.05)


def test_load_is_judged_against_even_routing() -> None:
    found = controlled(max_violation, iid(4000, 8, 2, 0), against="uniform")
    assert found.value > 0.5
    assert 0.1 > found.high >= found.control >= found.low > 0


def test_drawing_within_groups_keeps_what_the_group_explains() -> None:
    task_T = torch.arange(512) % 4
    trace = Trace.of(task_T[:, None] * 2 + torch.randint(2, (512, 1)), 8, task_T=task_T)
    drawn = resampled(trace, 0, within=task_T)
    assert torch.equal(drawn.idx_TK // 2, trace.idx_TK // 2)
    assert not torch.equal(drawn.idx_TK, trace.idx_TK)
    assert torch.equal(drawn.need("task_T"), task_T)
    alone = resampled(trace, 0, within=torch.arange(512))
    assert torch.equal(alone.idx_TK, trace.idx_TK)


def test_an_unknown_control_is_named() -> None:
    with pytest.raises(ParameterError, match="marginals, pooled, uniform, got 'none'"):
        controlled(srp, iid(64, 4, 1, 0), against="none")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 100), st.sampled_from(["marginals", "uniform"]))
def test_controls_are_lawful_traces(experts: int, k: int, seed: int, against: str) -> None:
    trace = iid(40, experts, min(k, experts), seed)
    trace.idx_TK[0] = experts

    def lawful(drawn: Trace) -> float:
        assert drawn.idx_TK.shape == trace.idx_TK.shape
        ordered = drawn.idx_TK.sort(-1).values
        assert not ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < experts)).any()
        return float(drawn.mask_TK.sum())

    found = controlled(lawful, trace, against=against)
    assert found.value == 39 * min(k, experts)
    assert against == "marginals" or found.control == found.value
