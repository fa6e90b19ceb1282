"""Stitched conversations, and the cost of keeping or leaving an expert."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.errors import LogError
from turnout.evaluation.conversations import WAYS, Stitched, compare, simulate, stitch
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.types import Arm, Price

PRICES = {"sums": Price(1.0, 1.0), "names": Price(1.0, 1.0), "big": Price(10.0, 10.0)}


@pytest.fixture(scope="module")
def router(log: OutcomeLog) -> Router:
    arms = [Arm(name, price=price) for name, price in PRICES.items()]
    policy = registry.create("policy", "utility", lam=20.0)
    estimator = registry.create("estimator", "ridge", on=("embedding",))
    return Router.fit(log, arms=arms, estimator=estimator, policy=policy, folds=2, guard=False)


def test_conversations_stay_with_their_task_as_often_as_asked(log: OutcomeLog) -> None:
    tasks = np.asarray(log.tasks)
    for stay, share in ((1.0, 1.0), (0.0, 0.5)):
        row_CT = stitch(log, 200, 5, stay=stay).row_CT
        same = (tasks[row_CT[:, 1:]] == tasks[row_CT[:, :-1]]).mean()
        assert same == pytest.approx(share, abs=0.1)
        assert all(len(set(row)) == 5 for row in row_CT.tolist())
    assert not stitch(log, 50, 4, tools=1.0).tool_CT[:, 0].any()
    assert stitch(log, 50, 4, tools=1.0).tool_CT[:, 1:].all()


def test_the_same_seed_stitches_the_same(log: OutcomeLog) -> None:
    assert (stitch(log, 20, 4, seed=3).row_CT == stitch(log, 20, 4, seed=3).row_CT).all()


def test_a_warm_cache_makes_the_second_turn_cheaper(log: OutcomeLog, router: Router) -> None:
    rows = np.array([[0, 0]])
    stitched = Stitched(rows, np.zeros((1, 2), dtype=bool))
    warm, cold = (simulate(router, log, stitched, PRICES, "keep", cached_share=share) for share in (0.1, 1.0))
    assert warm.cost.mean < cold.cost.mean
    assert warm.quality == cold.quality
    assert 0 < warm.cached < 1


def test_keeping_never_switches_and_deciding_freely_scores_best(log: OutcomeLog, router: Router) -> None:
    stitched = stitch(log, 60, 5, stay=0.5)
    found = {way: simulate(router, log, stitched, PRICES, way) for way in WAYS}
    assert found["keep"].switches == found["keep"].broken == 0
    assert found["free"].switches >= found["margin"].switches > 0
    assert found["free"].quality.mean > found["keep"].quality.mean
    assert compare(found["aware"], found["keep"]).low > 0
    assert found["aware"].cached >= found["free"].cached


def test_a_dear_switch_is_not_made(log: OutcomeLog, router: Router) -> None:
    stitched = stitch(log, 20, 4, stay=0.5)
    dear = router.copy()
    dear.guard = type(dear.guard)(**{**vars(dear.guard), "lam": 1e6})
    assert simulate(dear, log, stitched, PRICES, "aware").switches == 0


def test_a_log_with_gaps_among_those_who_may_serve_is_refused(log: OutcomeLog, router: Router) -> None:
    scores_NE = log.matrix()
    scores_NE[::3, log.experts.index("big")] = np.nan
    gaps = OutcomeLog.from_arrays(log.texts, log.experts, scores_NE, tasks=log.tasks)
    stitched = stitch(log, 5, 3)
    for some in (gaps, log.only(["sums", "names"])):
        with pytest.raises(LogError, match="every expert that may serve"):
            simulate(router, some, stitched, PRICES, "free")
    two = {name: price for name, price in PRICES.items() if name != "big"}
    assert simulate(router, gaps, stitched, two, "free").quality.mean > 0
