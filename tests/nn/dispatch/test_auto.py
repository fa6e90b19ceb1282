from __future__ import annotations

import pytest
import torch

from turnout.nn import FFN, Auto, LinearGate, TopK


@pytest.mark.parametrize(
    ("tokens", "k", "experts", "picked"),
    [(1, 2, 8, "per_token"), (64, 2, 8, "grouped"), (64, 4, 4, "dense"), (0, 2, 8, "per_token")],
)
def test_picks(tokens: int, k: int, experts: int, picked: str) -> None:
    logits_TE, _ = LinearGate(8, experts)(torch.randn(tokens, 8))
    assert Auto().pick(TopK(k)(logits_TE), FFN(experts, 8, 8)).name == picked
