from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn.statistics import Trace, flips, overlap


def test_overlap_counts_sets_and_flips_count_the_heaviest() -> None:
    before = Trace.of(torch.tensor([[0, 1], [2, 3], [4, 4]]), 4)
    after = Trace.of(
        torch.tensor([[1, 0], [2, 1], [4, 4]]), 4, weights_TK=torch.tensor([[0.9, 0.1], [0.9, 0.1], [0, 0]])
    )
    assert overlap(before, after) == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert flips(before, after) == pytest.approx(1 / 3)
    assert (flips(before, before), overlap(before, before)) == (0, 1)


def test_traces_must_be_of_the_same_tokens() -> None:
    one, two = Trace.of(torch.zeros(1, 1, dtype=torch.long), 2), Trace.of(torch.zeros(2, 1, dtype=torch.long), 2)
    with pytest.raises(RoutingError, match="got 1 tokens of 2 experts and 2 of 2"):
        flips(one, two)
    with pytest.raises(RoutingError, match="empty"):
        overlap(one.take(torch.zeros(0, dtype=torch.long)), one.take(torch.zeros(0, dtype=torch.long)))
