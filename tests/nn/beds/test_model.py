from __future__ import annotations

import torch

from turnout.nn import RoutingContext
from turnout.nn.beds.model import CharModel, DenseBlock, Size, per_layer

SMALL = Size(width=16, layers=2, heads=2, context=16)


def test_a_causal_model_sees_no_future() -> None:
    torch.manual_seed(0)
    ids_BS = torch.randint(0, 128, (1, 12))
    for weights in (False, True):
        model = CharModel(SMALL, per_layer(lambda size: DenseBlock(size.width, 8)), attention=weights).eval()
        other_BS = ids_BS.clone()
        other_BS[0, 8:] = 5
        assert torch.allclose(model(ids_BS).logits[0, :8], model(other_BS).logits[0, :8], atol=1e-6)


def test_attention_is_the_same_with_and_without_weights() -> None:
    torch.manual_seed(0)
    model = CharModel(SMALL, per_layer(lambda size: DenseBlock(size.width, 8))).eval()
    ids_BS = torch.randint(0, 128, (2, 12))
    plain = model(ids_BS).logits
    model.wants_attention = True
    assert torch.allclose(plain, model(ids_BS).logits, atol=1e-5)


def test_blocks_get_layer_state_and_what_they_route() -> None:
    seen: list[RoutingContext] = []

    class Block(torch.nn.Module):
        def forward(self, x: torch.Tensor, context: RoutingContext) -> torch.Tensor:
            seen.append(context)
            return x

    model = CharModel(SMALL, lambda size: [Block(), Block()], attention=True)
    model(torch.zeros(3, 5, dtype=torch.int64), RoutingContext(step=7))
    assert [context.layer for context in seen] == [0, 1]
    assert [context.step for context in seen] == [7, 7]
    assert seen[0].sequence_T is not None
    assert seen[0].sequence_T.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert seen[1].attention_BSS is not None
    assert seen[1].attention_BSS.shape == (3, 5, 5)
