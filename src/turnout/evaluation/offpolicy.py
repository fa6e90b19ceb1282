"""What a router would have earned on traffic that another policy served, before it is rolled out.

Shape letters: N queries, E experts of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from turnout.errors import LogError
from turnout.evaluation.saved import ask, overlap, shared_experts
from turnout.evaluation.tables import task_means
from turnout.features import Floats
from turnout.stats import (
    Interval,
    bootstrap_mean,
    bootstrap_ratio,
    chances,
    doubly_robust,
    effective_sample_size,
    importance_weights,
    ips,
    paired_bootstrap,
)
from turnout.stats.offpolicy import Choice

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog
    from turnout.routers import Router

FEW = 30.0  # an effective sample below this carries no interval worth the name


@dataclass(frozen=True)
class Value:
    """A policy's mean score by three estimators, with 95 % intervals over groups of near-duplicate queries.

    `effective` is Kish's effective sample size of the weights, `matched` the weighted share of what was logged that the
    policy would have done too, `uncovered` the share of its choices that the logging policy could not have made (it
    was certain of another): importance weights say nothing there, and only the model's prediction counts.
    """

    ips: Interval
    snips: Interval | None
    dr: Interval
    effective: float
    matched: float
    uncovered: float


@dataclass(frozen=True)
class Report:
    """A policy valued on a log, beside what was logged and one expert for everything; gains are paired (DR)."""

    queries: int
    groups: int
    policy: Value
    logged: Interval
    gain_over_logged: Interval
    single: str
    single_value: Value
    gain_over_single: Interval
    remarks: tuple[str, ...]


def propensities(log: OutcomeLog) -> Floats | None:
    """The log's propensities, None for a full matrix. Raises LogError for a partial log without any."""
    if log.has("propensity"):
        return log.matrix("propensity")
    if log.is_full:
        return None
    raise LogError(
        "the log is partial and has no `propensity` column, so it does not tell how its choices were made; record them "
        "(`[router] explore` and `turnout traces export`), or use `turnout eval`, which takes gaps to be at random"
    )


def value(choice: Choice, log: OutcomeLog, qhat_NE: Floats, *, seed: int = 0) -> Value:
    """The value of a policy (columns (N,), or chances (N, E)) on a log; `qhat_NE` must not know the row's outcome."""
    scores_NE, propensity_NE, groups_N = log.matrix(), propensities(log), log.groups()
    weights_N = importance_weights(choice, scores_NE, propensity_NE)
    weighted_N = ips(choice, scores_NE, propensity_NE)
    some = bool(weights_N.sum() > 0)
    return Value(
        ips=bootstrap_mean(weighted_N, groups_N, seed=seed),
        snips=bootstrap_ratio(weighted_N, weights_N, groups_N, seed=seed) if some else None,
        dr=bootstrap_mean(doubly_robust(choice, scores_NE, propensity_NE, qhat_NE), groups_N, seed=seed),
        effective=effective_sample_size(weights_N),
        matched=float((chances(choice, scores_NE.shape[1]) * np.isfinite(scores_NE)).sum(axis=1).mean()),
        uncovered=_uncovered(choice, scores_NE, propensity_NE),
    )


def _uncovered(choice: Choice, scores_NE: Floats, propensity_NE: Floats | None) -> float:
    if propensity_NE is None:
        return 0.0
    seen_NE = np.isfinite(scores_NE)
    certain_N = (np.where(seen_NE, np.nan_to_num(propensity_NE, nan=1.0), 0.0) >= 1.0).sum(axis=1) == seen_NE.sum(
        axis=1
    )
    elsewhere_N = np.where(seen_NE, 0.0, chances(choice, scores_NE.shape[1])).sum(axis=1)
    return float((certain_N & seen_NE.any(axis=1)) @ elsewhere_N / len(scores_NE))


def evaluate_offline(router: Router, log: OutcomeLog, *, explore: float = 0.0, seed: int = 0) -> Report:
    """Value a fitted router on a logged bandit, with `explore` as the chance of a uniform choice.

    Predictions inside the doubly robust estimate are the router's own where it never saw the log, else means over the
    other queries. Queries that an unknown expert served stay: without them the propensities of the rest would be wrong.
    Raises LogError where router and log share no expert or propensities are missing.
    """
    tie = overlap(router, log)
    scored_N = np.isfinite(log.matrix()).any(axis=1)
    log = log if scored_N.all() else log.select(scored_N)
    known, remarks = shared_experts(router, log)
    if not scored_N.all():
        remarks.append(f"Left out: {int((~scored_N).sum())} queries without a score.")
    known_NE, _, choice_N = ask(router, known)
    policy_NE = (1.0 - explore) * chances(choice_N, len(known.experts)) + explore / len(known.experts)
    if known.is_full and not known.has("propensity"):
        log = known
    column_E = [log.experts.index(name) for name in known.experts]
    policy_NE, known_NE = (_among(column_E, part_NE, len(log.experts)) for part_NE in (policy_NE, known_NE))
    scores_NE, propensity_NE = log.matrix(), propensities(log)
    qhat_NE = task_means(scores_NE, None) if tie.same_log else known_NE
    if tie.warning:
        remarks.append(tie.warning)
    single = max(known.experts, key=lambda name: router.guard.ranking[router.experts.index(name)])
    single_N = np.full(len(log), log.experts.index(single))
    groups_N = log.groups()
    dr_N = doubly_robust(policy_NE, scores_NE, propensity_NE, qhat_NE)
    logged_N = np.nansum(scores_NE, axis=1) / np.isfinite(scores_NE).sum(axis=1)
    single_dr_N = doubly_robust(single_N, scores_NE, propensity_NE, qhat_NE)
    found = value(policy_NE, log, qhat_NE, seed=seed)
    return Report(
        queries=len(log),
        groups=len(np.unique(groups_N)),
        policy=found,
        logged=bootstrap_mean(logged_N, groups_N, seed=seed),
        gain_over_logged=paired_bootstrap(dr_N - logged_N, groups_N, seed=seed),
        single=single,
        single_value=value(single_N, log, qhat_NE, seed=seed),
        gain_over_single=paired_bootstrap(dr_N - single_dr_N, groups_N, seed=seed),
        remarks=(*remarks, *_doubts(found)),
    )


def _among(column_E: list[int], known_NE: Floats, experts: int) -> Floats:
    """The columns of known experts among all of a log's, 0 for the others."""
    wide_NE = np.zeros((len(known_NE), experts))
    wide_NE[:, column_E] = known_NE
    return wide_NE


def _doubts(found: Value) -> list[str]:
    doubts = []
    if found.effective < FEW:
        doubts.append(
            f"The effective sample is {found.effective:.0f} queries: too few outcomes of what this router would do; "
            "explore more, or for longer."
        )
    if found.uncovered > 0.01:
        doubts.append(
            f"{found.uncovered:.0%} of the choices could not have been logged (the other choice was certain: no "
            "exploration, or a client's own model name); IPS counts them as 0, the doubly robust value as predicted."
        )
    return doubts


def plain(report: Report) -> dict[str, Any]:
    """The report as plain values for JSON; an interval becomes {mean, low, high}."""

    def interval(found: Interval | None) -> dict[str, float] | None:
        return None if found is None else found._asdict()

    def told(found: Value) -> dict[str, Any]:
        names = ("ips", "snips", "dr")
        rest = {name: getattr(found, name) for name in ("effective", "matched", "uncovered")}
        return {name: interval(getattr(found, name)) for name in names} | rest

    return {
        "queries": report.queries,
        "groups": report.groups,
        "policy": told(report.policy),
        "logged": interval(report.logged),
        "gain_over_logged": interval(report.gain_over_logged),
        "single": report.single,
        "single_value": told(report.single_value),
        "gain_over_single": interval(report.gain_over_single),
        "remarks": list(report.remarks),
    }
