"""A gate that keeps what it decided."""

from __future__ import annotations

import pytest
import torch

from turnout.errors import ParameterError
from turnout.nn import LinearGate
from turnout.nn.adapters import Protected


def test_old_inputs_keep_their_logits_and_new_ones_learn() -> None:
    torch.manual_seed(0)
    gate = LinearGate(8, 3)
    old, new = torch.zeros(20, 8), torch.zeros(20, 8)
    old[:, :3] = torch.randn(20, 3)
    new[:, 3:] = torch.randn(20, 5)
    kept = Protected(gate.linear.weight, share=1.0)
    kept.see(old)
    assert kept.protect() == 3
    before = gate(old)[0].detach(), gate(new)[0].detach()
    optimizer = torch.optim.SGD(gate.parameters(), 0.005)
    for _ in range(5):
        loss = gate(old + new)[0].square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(gate(old)[0], before[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(gate(new)[0], before[1])


def test_release_lets_go() -> None:
    gate = LinearGate(4, 2)
    kept = Protected(gate.linear.weight)
    kept.see(torch.eye(4))
    kept.protect()
    kept.release()
    gate(torch.ones(1, 4))[0].sum().backward()
    assert bool(gate.linear.weight.grad.any())


def test_it_needs_inputs_and_a_share() -> None:
    gate = LinearGate(4, 2)
    with pytest.raises(ParameterError, match="share"):
        Protected(gate.linear.weight, share=0)
    with pytest.raises(ParameterError, match="no input"):
        Protected(gate.linear.weight).protect()
