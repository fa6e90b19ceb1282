from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from turnout.nn import FFN, PrototypeGate, RoutedLayer, RoutingContext, TopK, update_biases


def test_logits_are_cosines_over_the_temperature() -> None:
    gate, x_TD = PrototypeGate(6, 3, temperature=0.25), torch.randn(4, 6)
    expected = nn.functional.cosine_similarity(x_TD[:, None], gate.prototypes[None], dim=-1) / 0.25
    assert torch.allclose(gate(x_TD)[0], expected, atol=1e-5)
    assert torch.allclose(gate(7 * x_TD)[0], expected, atol=1e-5)


def test_tutels_gate_learns_its_temperature_up_to_a_hundred() -> None:
    gate = PrototypeGate(6, 3, projection=5, temperature=0.5, learned_temperature=True)
    assert gate.log_scale.exp().item() == pytest.approx(2)
    gate.log_scale.data.fill_(50.0)
    assert gate(torch.randn(4, 6))[0].abs().max() <= 100.001
    names = {name for name, p in gate.named_parameters() if p.requires_grad}
    assert names == {"log_scale", "prototypes", "projection.weight"}


def test_ema_prototypes_find_the_clusters() -> None:
    torch.manual_seed(0)
    centres = nn.functional.normalize(torch.randn(3, 8), dim=-1)
    gate = PrototypeGate(8, 3, update="ema", momentum=0.5)
    gate.prototypes.copy_(nn.functional.normalize(centres + 0.3 * torch.randn(3, 8), dim=-1))
    for _ in range(20):
        gate(centres.repeat(20, 1) + 0.05 * torch.randn(60, 8))
        update_biases(gate)
    assert nn.functional.cosine_similarity(gate.prototypes, centres).min() > 0.99
    assert not list(gate.parameters())


def test_prototypes_move_once_a_step_over_the_whole_accumulation() -> None:
    torch.manual_seed(0)
    whole, parts = (PrototypeGate(8, 3, update="ema", momentum=0.5) for _ in range(2))
    parts.load_state_dict(whole.state_dict())
    x_TD, before = torch.randn(30, 8), whole.prototypes.clone()
    whole(x_TD)
    for part in x_TD.split(10):
        parts(part)
    assert torch.equal(parts.prototypes, before)
    assert (update_biases(whole), update_biases(parts)) == (1, 1)
    assert torch.allclose(whole.prototypes, parts.prototypes, atol=1e-6)
    assert not whole.after_step()


def test_evaluation_and_padding_do_not_move_prototypes() -> None:
    gate = PrototypeGate(8, 3, update="ema")
    gate.eval()(torch.randn(5, 8))
    assert not gate.after_step()
    gate.train()(torch.randn(5, 8), RoutingContext(mask_T=torch.zeros(5, dtype=torch.bool)))
    assert not gate.after_step()


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_counts_once_and_sees_the_same_prototypes(reentrant: bool) -> None:
    gate = PrototypeGate(8, 4, update="ema", momentum=0.0)
    layer = RoutedLayer(gate, TopK(1), FFN(4, 8, 16))
    x = torch.randn(16, 8, requires_grad=True)
    checkpoint(lambda x: layer(x).output, x, use_reentrant=reentrant).sum().backward()
    assert gate.counts_E.sum().item() == 16


def test_a_prototype_without_tokens_stays() -> None:
    gate = PrototypeGate(2, 2, update="ema", momentum=0.0)
    gate.prototypes.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    gate(torch.tensor([[1.0, 1.0]]))
    assert gate.after_step()
    assert gate.prototypes.tolist() == [pytest.approx([0.5**0.5, 0.5**0.5]), [-1.0, 0.0]]
