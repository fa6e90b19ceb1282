from __future__ import annotations

import torch

from turnout.nn.beds.digits import GraphNetwork, accuracy, descend, digits, graph, network


def test_a_split_is_by_seed_and_disjoint() -> None:
    one, again, other = digits(0), digits(0), digits(1)
    assert torch.equal(one.train_N, again.train_N)
    assert not torch.equal(one.train_N, other.train_N)
    assert len(one.train_N) + len(one.test_N) == 1797


def test_the_recipe_learns_digits() -> None:
    found = digits(0)
    torch.manual_seed(0)
    model = network(64, 32, 10)
    descend(
        model,
        lambda index_B: torch.nn.functional.cross_entropy(model(found.train_ND[index_B]), found.train_N[index_B]),
        len(found.train_N),
        seed=0,
        steps=150,
    )
    assert accuracy(model(found.test_ND), found.test_N) > 0.9


def test_the_graph_links_equals_and_is_symmetric() -> None:
    found = graph(0)
    dense_NN = found.adjacency_NN.to_dense()
    torch.testing.assert_close(dense_NN, dense_NN.T)
    row, column = found.adjacency_NN.coalesce().indices()
    assert (found.label_N[row] == found.label_N[column]).float().mean() > 0.9
    assert tuple(GraphNetwork(found.adjacency_NN, 64, 8, 10)(found.x_ND).shape) == (1797, 10)
