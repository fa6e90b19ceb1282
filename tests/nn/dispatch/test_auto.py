from __future__ import annotations

import pytest
import torch

from turnout.nn import FFN, Auto, LinearGate, LoRA, TopK


@pytest.mark.parametrize(
    ("tokens", "k", "experts", "picked"),
    [(1, 2, 8, "per_token"), (64, 2, 8, "grouped"), (64, 4, 4, "dense"), (0, 2, 8, "per_token")],
)
def test_picks(tokens: int, k: int, experts: int, picked: str) -> None:
    logits_TE, _ = LinearGate(8, experts)(torch.randn(tokens, 8))
    assert Auto().pick(TopK(k)(logits_TE), FFN(experts, 8, 8)).name == picked


def test_a_pool_that_is_quicker_block_by_block_runs_so(onednn: None) -> None:
    logits_TE, _ = LinearGate(8, 4)(torch.randn(64, 8))
    plan = TopK(2)(logits_TE)
    assert Auto().pick(plan, FFN(4, 8, 8)).name == "segment"
    assert Auto().pick(plan, FFN(4, 8, 8).double()).name == "grouped"
    assert Auto().pick(plan, LoRA(4, 8, 8, rank=2)).name == "grouped"
