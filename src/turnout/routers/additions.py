"""Experts that come and go: a fitted router learns one more, or forgets one, without touching the others."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from turnout.errors import ConfigError, LogError
from turnout.estimators.cautious import Cautious
from turnout.policies.base import Policy
from turnout.routers.bound import stated
from turnout.routers.costs import fit_costs
from turnout.routers.evidence import gather
from turnout.routers.guard import enough

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog
    from turnout.routers.router import Router
    from turnout.types import Arm


def learn_expert(router: Router, arm: Arm, log: OutcomeLog, caution: float = 0.0) -> None:
    """Append the arm's column to every part of the router."""
    if arm.id not in log.experts:
        raise LogError(f"expert {arm.id!r} is not in the log; it has: {', '.join(log.experts)}")
    prices = {arm.id: arm.price} if stated(arm.price) else {}
    evidence, _ = gather(log.only([arm.id]), router.signal_names, prices, router.signals)
    estimator = copy.deepcopy(router.estimator)
    if isinstance(estimator, Cautious):
        estimator.caution = caution
    elif caution:
        estimator = Cautious.around(estimator, len(router.experts), caution)
    estimator.add_expert(evidence.features, evidence.scores_NE[:, 0])
    quality = float(np.average(evidence.scores_NE[:, 0], weights=evidence.weights_NE[:, 0]))
    costs = fit_costs(log, evidence, prices)
    cost = float(costs.predict(evidence.size_N, features=evidence.features).mean())
    rank = _rank(router, quality, cost, outcomes=len(evidence.query_ids))
    router.guard = router.guard.among((*router.experts, arm.id), (*router.guard.ranking, rank))
    router.estimator = estimator
    router.costs = router.costs.append(costs)
    router.arms = (*router.arms, arm)
    router.examples = router.examples.with_expert()
    router.summary = {**router.summary, "added": [*router.summary.get("added", []), arm.id]}


def _rank(router: Router, quality: float, cost: float, outcomes: int) -> float:
    """The policy's own objective of the newcomer's averages; with too few outcomes it comes last."""
    if outcomes < enough(router.summary.get("log", {}).get("queries", outcomes)):
        return min(router.guard.ranking) - 1.0
    shape = (1, len(router.experts) + 1)
    return float(router.policy.objective(np.full(shape, quality), np.full(shape, cost))[0, -1])


def forget_expert(router: Router, column: int) -> None:
    """Drop one column from every part of the router."""
    keep = [e for e in range(len(router.experts)) if e != column]
    gone = router.experts[column]
    policy = _shifted(router.policy, column, gone)
    router.estimator = copy.deepcopy(router.estimator).remove_expert(column)
    router.policy = policy
    ranking = tuple(router.guard.ranking[e] for e in keep)
    router.guard = router.guard.among([router.experts[e] for e in keep], ranking)
    router.arms = tuple(router.arms[e] for e in keep)
    router.examples = router.examples.without_expert(column)
    router.costs = router.costs.select(keep)
    router.summary = {**router.summary, "removed": [*router.summary.get("removed", []), gone]}


def _shifted(policy: Policy, column: int, gone: str) -> Policy:
    """A policy that names an expert by its column keeps meaning that expert."""
    strong = getattr(policy, "strong_", None)
    if not isinstance(strong, int) or column > strong:
        return policy
    if column == strong:
        raise ConfigError(f"the policy is built on {gone!r} as its strong expert; fit another policy without it")
    moved = copy.deepcopy(policy)
    moved.strong_ = strong - 1  # type: ignore[attr-defined]
    return moved
