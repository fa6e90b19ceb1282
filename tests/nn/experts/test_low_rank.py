from __future__ import annotations

import pytest
import torch
from torch import nn

from turnout.errors import RoutingError
from turnout.nn import Dense, LowRank, Plan


def test_an_affine_map_of_its_rank_is_found_and_other_experts_stay() -> None:
    torch.manual_seed(0)
    pool, x_ND = LowRank(3, 8, 5, rank=2), torch.randn(60, 8) + 2
    y_NO = x_ND @ torch.randn(8, 2) @ torch.randn(2, 5) - 1
    before = pool.down_ERD[0].clone()
    assert pool.fit(1, x_ND, y_NO, ridge=1e-9) > 0.9999
    plan = Plan(
        torch.ones(60, 1, dtype=torch.int64), torch.ones(60, 1), torch.ones(60, 3), torch.ones(60, 3), full=True
    )
    torch.testing.assert_close(Dense()(x_ND, plan, pool).by_token()[:, 0], y_NO, rtol=1e-3, atol=1e-3)
    assert torch.equal(before, pool.down_ERD[0])


def test_more_rank_explains_more_of_a_layer() -> None:
    torch.manual_seed(0)
    layer, x_ND = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)), torch.randn(500, 8)
    shares = [LowRank(1, 8, rank=rank).fit(0, x_ND, layer(x_ND)) for rank in (1, 2, 4, 8)]
    assert shares == sorted(shares)
    assert 0.4 < shares[-1] < 1


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(RoutingError, match=r"inputs \[N, 4\] and outputs \[N, 3\], got \(5, 4\) and \(6, 3\)"):
        LowRank(1, 4, 3).fit(0, torch.ones(5, 4), torch.ones(6, 3))
