from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from turnout.errors import RoutingError
from turnout.nn import Dense, Grouped, Plan, Slices


def everything(pool: Slices, x_TD: Tensor) -> Tensor:
    ones_TE = torch.ones(x_TD.shape[0], pool.experts)
    plan = Plan.of_mask(ones_TE.bool(), ones_TE, ones_TE)
    y_TD = Grouped()(x_TD, plan, pool).weighted_sum(plan.weights_TK)
    torch.testing.assert_close(y_TD, Dense()(x_TD, plan, pool).weighted_sum(plan.weights_TK))
    return y_TD


@pytest.mark.parametrize("groups", [None, [[5, 0, 3, 7], [1, 2, 4, 6], [8, 11, 9, 10]]])
@pytest.mark.parametrize("gated", [True, False])
def test_all_slices_are_the_dense_network(gated: bool, groups: list[list[int]] | None) -> None:
    torch.manual_seed(0)
    gate, up, down = (nn.Linear(*size, bias=False) for size in [(8, 12), (8, 12), (12, 8)])
    x_TD = torch.randn(9, 8)
    first = torch.cat([gate.weight, up.weight]) if gated else up.weight
    wanted_TD = down(nn.functional.silu(gate(x_TD)) * up(x_TD)) if gated else down(nn.functional.silu(up(x_TD)))
    pool = Slices.of(first, down.weight, 3, gated=gated, groups=groups)
    assert float((everything(pool, x_TD) - wanted_TD).detach().abs().max()) < 1e-6


def test_unequal_parts_are_refused() -> None:
    with pytest.raises(RoutingError, match="experts must divide the hidden units, got 5 of 12"):
        Slices(5, 8, 12)
    for groups in ([[0, 1], [2, 3, 4, 5]], [[0, 1, 2], [3, 4, 4]]):
        with pytest.raises(RoutingError, match="must part the 6 hidden units into equal shares"):
            Slices.of(torch.ones(6, 4), torch.ones(4, 6), 2, gated=False, groups=groups)
