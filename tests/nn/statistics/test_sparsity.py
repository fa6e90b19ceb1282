from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from turnout.nn.statistics import Trace, chunk_sparsity, token_sparsity


@given(st.lists(st.integers(0, 7), min_size=8, max_size=32))
def test_a_chunk_leaves_alone_no_more_than_a_token(choices: list[int]) -> None:
    trace = Trace.of(torch.tensor(choices)[:, None], 8)
    assert chunk_sparsity(trace, 8) <= token_sparsity(trace) == 7 / 8
    assert chunk_sparsity(trace, 1) == token_sparsity(trace)


def test_a_token_without_experts_leaves_all_alone() -> None:
    assert token_sparsity(Trace.of(torch.tensor([[2], [2]]), 2)) == 1
