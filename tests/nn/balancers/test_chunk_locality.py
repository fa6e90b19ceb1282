from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn import ChunkLocality, ReLU
from turnout.nn.base import Routing

Make = Callable[..., Routing]


def test_transfer_compares_neighbours_of_one_sequence_without_padding(routing: Make) -> None:
    logits_TE = torch.randn(6, 4)
    sequence_T, mask_T = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([1, 1, 0, 1, 1, 1], dtype=torch.bool)
    made = routing(logits_TE, select=ReLU(4), sequence_T=sequence_T, mask_T=mask_T)
    pairs = [(0, 1), (3, 4), (4, 5)]
    bce = nn.functional.binary_cross_entropy_with_logits
    expected = torch.stack([bce(9 * logits_TE[a], (9 * logits_TE[b]).sigmoid()) for a, b in pairs]).mean()
    assert ChunkLocality(steepness=9.0).transfer(made).item() == pytest.approx(expected.item(), rel=1e-5)


def test_spread_is_about_the_share_of_experts_a_chunk_fires(routing: Make) -> None:
    same = torch.full((8, 4), -1.0)
    same[:, 0] = 1.0
    turns = torch.full((8, 4), -1.0)
    turns[torch.arange(8), torch.arange(8) % 4] = 1.0
    loss = ChunkLocality(chunk=4)
    assert loss.spread(routing(same, select=ReLU(4))).item() == pytest.approx(0.25, abs=1e-3)
    assert loss.spread(routing(turns, select=ReLU(4))).item() == pytest.approx(1.0, abs=1e-3)


def test_chunks_start_with_a_sequence_and_skip_padding(routing: Make) -> None:
    sequence_T = torch.tensor([4, 4, 4, 9, 9, 9, 9])
    mask_T = torch.tensor([1, 0, 1, 1, 1, 1, 1], dtype=torch.bool)
    made = routing(torch.randn(7, 4), select=ReLU(4), sequence_T=sequence_T, mask_T=mask_T)
    assert ChunkLocality(chunk=3)._chunks(made).tolist() == [0, 0, 1, 1, 1, 2]


def test_training_on_it_makes_chunks_sparser(routing: Make) -> None:
    torch.manual_seed(0)
    logits_TE = torch.randn(32, 8, requires_grad=True)
    loss, optimizer = ChunkLocality(locality=0.0, sparsity=1.0), torch.optim.Adam([logits_TE], 0.1)
    start = loss(routing(logits_TE, select=ReLU(8, norm=False))).item()
    for _ in range(25):
        optimizer.zero_grad()
        found = loss(routing(logits_TE, select=ReLU(8, norm=False)))
        found.backward()
        optimizer.step()
    assert found.item() < 0.8 * start


def test_nothing_to_compare_costs_nothing(routing: Make) -> None:
    made = routing(torch.randn(1, 4), select=ReLU(4), mask_T=torch.tensor([False]))
    assert ChunkLocality()(made).item() == 0


def test_sequences_of_another_length_are_named(routing: Make) -> None:
    made = routing(torch.randn(3, 4), select=ReLU(4), sequence_T=torch.zeros(2))
    with pytest.raises(RoutingError, match=r"sequence_T must have shape \(3,\), got \(2,\)"):
        ChunkLocality()(made)
