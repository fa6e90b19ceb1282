from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn import FFN, ContrastivePrototypes, PrototypeGate, RandomProjectionGate, RoutedLayer, TopK
from turnout.nn.base import Routing

Make = Callable[..., Routing]


def test_it_is_the_cross_entropy_of_prototypes_and_cluster_means(routing: Make) -> None:
    gate, x_TD = PrototypeGate(8, 4), torch.randn(30, 8)
    made = routing(gate(x_TD)[0], gate=gate, x_TD=x_TD, select=TopK(1))
    own_T = made.plan.idx_TK[:, 0]
    used = own_T.unique()
    means = torch.stack([x_TD[own_T == e].mean(0) for e in used])
    cosine = nn.functional.cosine_similarity(gate.prototypes[used][:, None], means[None], dim=-1)
    expected = nn.functional.cross_entropy(cosine / 0.07, torch.arange(len(used)))
    assert ContrastivePrototypes()(made).item() == pytest.approx(expected.item(), rel=1e-4)


def test_training_on_it_makes_prototypes_tell_clusters_apart() -> None:
    torch.manual_seed(0)
    centres = torch.randn(4, 8)
    x = centres.repeat(16, 1) + 0.1 * torch.randn(64, 8)
    layer = RoutedLayer(PrototypeGate(8, 4), TopK(1), FFN(4, 8, 8), balancers=[ContrastivePrototypes()])
    optimizer = torch.optim.Adam(layer.gate.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = layer(x).losses["contrastive_prototypes"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_fewer_than_two_clusters_cost_nothing_and_padding_is_left_out(routing: Make) -> None:
    gate, x_TD = PrototypeGate(8, 4), torch.randn(6, 8)
    one = routing(torch.tensor([[9.0, 0, 0, 0]]).expand(6, 4), gate=gate, x_TD=x_TD, select=TopK(1))
    assert ContrastivePrototypes()(one).item() == 0
    mask_T = torch.arange(6) < 4
    padded = routing(gate(x_TD)[0], gate=gate, x_TD=x_TD, mask_T=mask_T)
    bare = routing(gate(x_TD[:4])[0], gate=gate, x_TD=x_TD[:4])
    assert ContrastivePrototypes()(padded).item() == pytest.approx(ContrastivePrototypes()(bare).item(), rel=1e-4)


def test_an_expert_kept_apart_is_left_out(routing: Make) -> None:
    gate, x_TD = PrototypeGate(8, 4), torch.randn(30, 8)
    made = routing(gate(x_TD)[0], gate=gate, x_TD=x_TD, select=TopK(1))
    ContrastivePrototypes(only=3)(made).backward()
    assert gate.prototypes.grad[3].abs().sum() == 0
    assert gate.prototypes.grad[:3].abs().sum() > 0


def test_a_gate_without_rows_is_named(routing: Make) -> None:
    with pytest.raises(RoutingError, match="RandomProjectionGate has none"):
        ContrastivePrototypes()(routing(gate=RandomProjectionGate(8, 4)))
