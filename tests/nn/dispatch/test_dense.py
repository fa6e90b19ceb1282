from __future__ import annotations

import torch
from torch.nn.functional import silu

from turnout.nn import FFN, Dense, Plan


def test_each_token_gets_its_own_experts_outputs() -> None:
    torch.manual_seed(0)
    experts, x_TD = FFN(3, 4, 6), torch.randn(5, 4)
    idx_TK = torch.tensor([[0, 2], [1, 0], [3, 3], [2, 3], [2, 1]])
    weights_TK = torch.rand(5, 2) * (idx_TK < 3)
    y_TM = Dense()(x_TD, Plan(idx_TK, weights_TK, torch.rand(5, 3), torch.rand(5, 3)), experts).weighted_sum(weights_TK)
    for t in range(5):
        wanted_M = torch.zeros(4)
        for expert, weight in zip(idx_TK[t].tolist(), weights_TK[t], strict=True):
            if expert < 3:
                gate_H, up_H = (experts.gate_up_proj[expert] @ x_TD[t]).chunk(2)
                wanted_M = wanted_M + weight * (experts.down_proj[expert] @ (silu(gate_H) * up_H))
        torch.testing.assert_close(y_TM[t], wanted_M)
