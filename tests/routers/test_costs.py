"""Costs that a router learns: from the log, and for its own queries without their own outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.estimators.ridge import Ridge
from turnout.estimators.stack import Stack
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.costs import fit_costs, held_out_costs
from turnout.routers.evidence import gather
from turnout.stats import group_folds
from turnout.types import Arm, Request

KINDS = ("add {} and {}", "Write a Python function that sorts {} by {} and explain each step of it in detail")


@pytest.fixture
def log() -> OutcomeLog:
    """Short and long answers that the wording tells apart, not the prompt's size alone; costs and no tokens."""
    rng = np.random.default_rng(0)
    kind_N = rng.integers(0, 2, 200)
    texts = [KINDS[kind].format(*rng.integers(10, 999, 2)) for kind in kind_N]
    cost_NE = 1e-5 * np.array([8.0, 3.0]) ** kind_N[:, None] * rng.lognormal(0, 0.2, (200, 2))
    return OutcomeLog.from_arrays(texts, ["a", "b"], rng.random((200, 2)), cost_NE=cost_NE)


def test_a_query_s_own_cost_does_not_reach_its_estimate(log: OutcomeLog) -> None:
    evidence, _ = gather(log, ("embedding", "length"), {})
    costs = fit_costs(log, evidence, {})
    fold_N = group_folds(evidence.groups_N, 5, seed=0)
    told_NE = held_out_costs(costs, evidence, fold_N)
    tested_N = fold_N == 2
    evidence.cost_NE[tested_N] *= 1000.0
    again_NE = held_out_costs(costs, evidence, fold_N)
    assert np.array_equal(told_NE[tested_N], again_NE[tested_N])
    assert not np.allclose(told_NE[~tested_N], again_NE[~tested_N])


def test_a_router_tells_and_keeps_what_requests_cost(log: OutcomeLog, tmp_path) -> None:
    router = Router.fit(log, folds=3)
    asked = [KINDS[0].format(5, 7), KINDS[1].format("rows", "age")]
    cost_NE = router.predict(asked)[2]
    assert cost_NE[1, 0] > 4 * cost_NE[0, 0]
    router.save(tmp_path / "r")
    assert np.array_equal(Router.load(tmp_path / "r").predict(asked)[2], cost_NE)
    served = router.bind(router.arms).decide_many([Request(text) for text in asked])
    assert [decision.cost for decision in served] == [pytest.approx(tuple(row), rel=1e-5) for row in cost_NE]


def test_a_newcomer_keeps_its_own_costs_whichever_members_a_stack_left_out(log: OutcomeLog) -> None:
    router = Router.fit(log, estimator=Stack((Ridge(on=("format",)), Ridge(on=("embedding", "format")))), folds=3)
    router.estimator.weight_M_ = np.array([0.0, 1.0])  # as a fit sets them where the first adds nothing
    cost_N1 = np.array([[8e-5 if text.startswith("add") else 1e-5] for text in log.texts])
    router.add_expert(Arm("c"), OutcomeLog.from_arrays(log.texts, ["c"], log.matrix()[:, :1], cost_NE=cost_N1))
    cost_NE = router.predict([KINDS[0].format(5, 7), KINDS[1].format("rows", "age")])[2]
    assert cost_NE[0, 2] > 4 * cost_NE[1, 2]
    assert cost_NE[0, 0] < cost_NE[1, 0]
