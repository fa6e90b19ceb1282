from __future__ import annotations

import torch

from turnout.nn import RandomProjectionGate


def test_the_matrix_is_sparse_frozen_saved_and_drawn_from_its_seed() -> None:
    gate, same, other = (RandomProjectionGate(20, 6, density=0.3, seed=seed) for seed in (1, 1, 2))
    assert (gate.matrix_ED != 0).sum(-1).tolist() == [6] * 6
    assert torch.equal(gate.matrix_ED, same.matrix_ED)
    assert not torch.equal(gate.matrix_ED, other.matrix_ED)
    other.load_state_dict(gate.state_dict())
    assert torch.equal(gate.matrix_ED, other.matrix_ED)


def test_relevance_is_the_size_of_the_projection() -> None:
    x_TD = torch.randn(4, 20)
    gate, signed = RandomProjectionGate(20, 6), RandomProjectionGate(20, 6, signed=True)
    assert torch.equal(gate(x_TD)[0], signed(x_TD)[0].abs())
    assert torch.equal(gate(-x_TD)[0], gate(x_TD)[0])


def test_entries_have_the_asked_spread() -> None:
    matrix = RandomProjectionGate(400, 50, density=1.0, std=0.02).matrix_ED
    assert abs(matrix.std().item() - 0.02) < 1e-3
