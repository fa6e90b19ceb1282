from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn.statistics import Trace, effective_support, experts_per_token


def test_support_lies_between_one_and_k() -> None:
    idx_TK = torch.tensor([[0, 1, 2], [0, 1, 2]])
    weights = torch.tensor([[1.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    assert effective_support(Trace.of(idx_TK, 4, weights_TK=weights)) == pytest.approx(2.0)


def test_tokens_without_experts_count_for_experts_per_token_only() -> None:
    trace = Trace.of(torch.tensor([[0, 1], [4, 4]]), 4)
    assert (experts_per_token(trace), effective_support(trace)) == (1.0, 2.0)
    with pytest.raises(RoutingError, match="no token has an expert with weight"):
        effective_support(Trace.of(torch.tensor([[4]]), 4))
