from __future__ import annotations

import pytest
import torch

from turnout.errors import ParameterError, RoutingError
from turnout.nn import LinearGate, RecurrentGate, RoutingContext, TokenGraphGate


def test_tokens_that_are_alike_come_closer() -> None:
    torch.manual_seed(0)
    gate = LinearGate(8, 4)
    smooth = TokenGraphGate(gate, 8, temperature=0.1)
    x_TD = torch.randn(1, 8) + 0.3 * torch.randn(10, 8)
    assert smooth(x_TD)[0].std(0).sum() < gate(x_TD)[0].std(0).sum()


def test_without_mixing_it_is_the_inner_gate() -> None:
    gate, x_TD = LinearGate(8, 4), torch.randn(5, 8)
    assert torch.equal(TokenGraphGate(gate, 8, mix=0.0)(x_TD)[0], gate(x_TD)[0])


def test_attention_mixes_logits_within_a_sequence() -> None:
    gate, x_TD = LinearGate(8, 4), torch.randn(6, 8)
    attention = torch.rand(2, 3, 3)
    attention = attention / attention.sum(-1, keepdim=True)
    found = TokenGraphGate(gate, by="attention")(x_TD, RoutingContext(attention_BSS=attention))[0]
    expected = torch.cat([attention[b] @ gate(x_TD)[0][3 * b : 3 * b + 3] for b in (0, 1)])
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("by", ["similarity", "attention"])
def test_a_causal_graph_hides_the_future_and_padding_is_never_seen(by: str) -> None:
    torch.manual_seed(0)
    gate = TokenGraphGate(LinearGate(8, 4), 8 if by == "similarity" else None, by=by, causal=True)
    mask_T = torch.tensor([False, True, True, True])
    context = RoutingContext(mask_T=mask_T, attention_BSS=torch.full((1, 4, 4), 0.25))
    x_TD = torch.randn(4, 8)
    for row in (0, 3):  # the padding before and the token after
        changed = x_TD.clone()
        changed[row] += 5
        assert torch.allclose(gate(x_TD, context)[0][1:3], gate(changed, context)[0][1:3], atol=1e-6)


def test_sequences_do_not_see_each_other() -> None:
    gate = TokenGraphGate(LinearGate(8, 4), 8)
    context = RoutingContext(sequence_T=torch.tensor([0, 0, 1, 1]))
    x_TD = torch.randn(4, 8)
    alone = gate(x_TD[:2])[0]
    assert torch.allclose(gate(x_TD, context)[0][:2], alone, atol=1e-6)


def test_the_state_of_the_inner_gate_passes() -> None:
    inner = RecurrentGate(8, 4, hidden=6)
    assert TokenGraphGate(inner, 8)(torch.randn(3, 8))[1].shape == (3, 6)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ParameterError, match="similarity needs `width`"):
        TokenGraphGate(LinearGate(8, 4))
    gate = TokenGraphGate(LinearGate(8, 4), by="attention")
    with pytest.raises(RoutingError, match="needs the context's attention_BSS, got None"):
        gate(torch.randn(3, 8))
    with pytest.raises(RoutingError, match=r"B·S = 3, got \(1, 2, 2\)"):
        gate(torch.randn(3, 8), RoutingContext(attention_BSS=torch.ones(1, 2, 2)))
