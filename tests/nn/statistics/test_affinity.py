from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn.statistics import Trace, affinity, mutual_information, next_layer_recall


def test_affinity_rows_sum_to_the_upper_layers_k() -> None:
    generator = torch.Generator().manual_seed(0)
    lower = Trace.of(torch.rand(200, 6, generator=generator).topk(2).indices, 6)
    upper = Trace.of(torch.rand(200, 5, generator=generator).topk(3).indices, 5)
    table = affinity(lower, upper)
    assert table.shape == (6, 5)
    assert table.sum(1).tolist() == pytest.approx([3.0] * 6)


def test_a_copy_of_the_layer_below_is_fully_predictable() -> None:
    choices = torch.arange(64) % 4
    lower, upper = Trace.of(choices[:, None], 4), Trace.of((choices[:, None] + 1) % 4, 4)
    assert mutual_information(lower, upper) == pytest.approx(2.0)
    assert next_layer_recall(lower, upper, top=1) == 1.0


def test_recall_is_judged_on_tokens_the_table_has_not_seen() -> None:
    lower, upper = Trace.of(torch.tensor([[0], [0]]), 3), Trace.of(torch.tensor([[1], [2]]), 3)
    assert next_layer_recall(lower, upper, top=1) == 0.0


def test_an_expert_not_seen_is_guessed_as_the_most_usual() -> None:
    lower, upper = Trace.of(torch.arange(40)[:, None], 40), Trace.of(torch.full((40, 1), 3), 5)
    assert next_layer_recall(lower, upper, top=1) == 1.0


def test_layers_must_have_seen_the_same_tokens() -> None:
    one, two = Trace.of(torch.zeros(1, 1, dtype=torch.long), 2), Trace.of(torch.zeros(2, 1, dtype=torch.long), 2)
    with pytest.raises(RoutingError, match="got 1 and 2"):
        affinity(one, two)
    with pytest.raises(RoutingError, match="at least two tokens"):
        next_layer_recall(one, one)
