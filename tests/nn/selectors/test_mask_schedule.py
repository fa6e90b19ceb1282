from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import MaskSchedule, RoutingContext, TopK


def test_candidates_open_linearly_and_cyclically() -> None:
    select = MaskSchedule(TopK(1), local=2, first=2, start=100, end=200)
    assert [select.candidates(step, 4) for step in (0, 100, 149, 150, 199, 200, 999)] == [2, 2, 2, 3, 3, 4, 4]
    logits_TE = torch.tensor([[9.0, 8.0, 0.0, 1.0]])
    chosen = [select(logits_TE, RoutingContext(step=step)).idx_TK.item() for step in (0, 150, 200)]
    assert chosen == [3, 0, 0]


def test_evaluation_and_a_reloaded_layer_keep_what_training_opened() -> None:
    select = MaskSchedule(TopK(1), local=1, start=0, end=10)
    logits_TE = torch.tensor([[0.0, 1.0]])
    select(logits_TE, RoutingContext(step=10))
    assert select.eval()(logits_TE).idx_TK.item() == 1
    fresh = MaskSchedule(TopK(1), local=1, start=0, end=10)
    assert fresh.eval()(logits_TE).idx_TK.item() == 0
    fresh.load_state_dict(select.state_dict())
    assert fresh(logits_TE).idx_TK.item() == 1


def test_more_experts_than_are_open_is_named() -> None:
    with pytest.raises(RoutingError, match="1 experts are open, fewer than k=2"):
        MaskSchedule(TopK(2), local=1)(torch.zeros(1, 4))
    with pytest.raises(RoutingError, match="experts 3 to 4 of 4"):
        MaskSchedule(TopK(1), local=2, first=3)(torch.zeros(1, 4))
