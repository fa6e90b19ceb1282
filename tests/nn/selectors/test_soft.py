from __future__ import annotations

import torch

from turnout.nn import Soft


def test_a_silenced_expert_leaves_its_slot_empty() -> None:
    plan = Soft()(torch.tensor([[0.0, float("-inf"), 0.0]]))
    assert plan.idx_TK.tolist() == [[0, 3, 2]]
    assert plan.weights_TK.tolist() == [[0.5, 0.0, 0.5]]
    plan.check()


def test_sigmoid_weights_do_not_compete() -> None:
    assert Soft("sigmoid")(torch.zeros(1, 4)).weights_TK.tolist() == [[0.5] * 4]
