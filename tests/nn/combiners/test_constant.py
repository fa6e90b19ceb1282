from __future__ import annotations

import torch

from turnout.nn import Auto, Constant, LoRA, Plan, RoutingContext, WeightedSum


def test_every_expert_weighs_the_same() -> None:
    torch.manual_seed(0)
    pool, x_TD = LoRA(3, 4, rank=2), torch.randn(2, 4)
    torch.nn.init.normal_(pool.lora_B)
    idx_TK, scores_TE = torch.tensor([[0, 2], [1, 3]]), torch.rand(2, 3)
    plan = Plan(idx_TK, torch.tensor([[0.9, 0.1], [0.3, 0.0]]), scores_TE, scores_TE)
    for weight, wanted in ((None, [[0.5, 0.5], [1.0, 0.0]]), (0.7, [[0.7, 0.7], [0.7, 0.0]])):
        same = Plan(idx_TK, torch.tensor(wanted), scores_TE, scores_TE)
        found = Constant(weight)(x_TD, plan, pool, Auto(), RoutingContext())
        torch.testing.assert_close(found, WeightedSum()(x_TD, same, pool, Auto(), RoutingContext()))
