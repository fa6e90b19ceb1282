"""A saved router on a log: is the log new to it, and how does it do there?

Shape letters: N queries, E experts of the log, R experts of the router.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turnout.errors import LogError
from turnout.evaluation.methods import Fitted, Fixed
from turnout.evaluation.protocol import Study, crossval
from turnout.features import Floats

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog
    from turnout.routers import Router

EXCERPT = 160  # characters of a training query that a router keeps


@dataclass(frozen=True, slots=True)
class Overlap:
    """What ties a log to a router's training: the same fingerprint, or some of the `kept` training queries in it."""

    same_log: bool
    kept: int
    found: int

    @property
    def warning(self) -> str | None:
        """The finding in words, or None where there is none."""
        if self.same_log:
            return "This log is the one that the router was fitted on; it knows the answers."
        if self.found:
            return (
                f"{self.found} of {self.kept} training queries that the router keeps stand in this log: it is not new "
                "to the router, and the figures flatter it."
            )
        return None


def overlap(router: Router, log: OutcomeLog) -> Overlap:
    """Compare a log with what a router remembers of its training: a fingerprint, and up to 500 ids and excerpts.

    An excerpt that holds a whole text is found by the text; a longer text by its start and its id together, since
    prompts often begin alike.
    """
    from turnout.stats import normalise

    kept = router.examples
    whole = {normalise(text) for text in log.texts if text.strip()}
    starts = {(id, normalise(text[:EXCERPT])) for id, text in zip(log.query_ids, log.texts, strict=True)}
    found = 0
    for id, excerpt in zip(kept.ids, kept.excerpts, strict=True):
        start = normalise(excerpt)
        found += bool(start) and (start in whole if len(excerpt) < EXCERPT else (id, start) in starts)
    return Overlap(router.summary.get("log", {}).get("fingerprint") == log.fingerprint(), len(kept.ids), found)


def evaluate(
    router: Router,
    log: OutcomeLog,
    *,
    train: OutcomeLog | None = None,
    refit: bool | None = None,
    seeds: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Study:
    """Measure a router on a log beside every baseline.

    `train` is its training log, if at hand: queries of `log` that stand in it, near-duplicates too, are left out.
    `refit` None evaluates the router as it is on a new log, and on its own training log the same recipe refitted by
    cross-validation, since a router knows the answers of the log that it was fitted on. Baselines always learn from
    the other folds of `log`, which favours them. Raises LogError where log and router share no expert.
    """
    tie = overlap(router, log)
    warnings = [tie.warning] if tie.warning else []
    if train is not None:
        log, warning = without_leaks(train, log)
        warnings = [warning] if warning else []
    refit = tie.same_log and train is None if refit is None else refit
    log, remarks = shared_experts(router, log)
    if refit:
        warnings.append(
            "The figures are not the saved router's own: its recipe was refitted without the queries that are tested."
        )
        found = crossval([Fitted(options=recipe(router))], log, seeds=seeds or (0, 1, 2), progress=progress)
    else:
        if tie.same_log:
            warnings.append("The figures are for queries whose answers the router has seen: they prove nothing.")
        asked = Fixed(lambda other: ask(router, other))
        found = crossval([asked], log, seeds=seeds or (0, 1, 2, 3, 4), progress=progress, workers=1)
        remarks.append(
            "Baselines learn from the other folds of this log, which favours them over a router from another."
        )
    evaluation = replace(
        found.evaluation,
        warnings=tuple(warnings),
        remarks=(*remarks, f"The guard: {router.guard.words()}.", *found.evaluation.remarks),
        nominal=any(arm.price.nominal for arm in router.arms),
    )
    return replace(found, evaluation=evaluation)


def without_leaks(train: OutcomeLog, log: OutcomeLog) -> tuple[OutcomeLog, str | None]:
    """The queries of `log` that `train` does not hold, and a warning where some were left out."""
    from turnout.outcomes import leaks

    found = leaks(train, log)
    if not found:
        return log, None
    kept = np.setdiff1d(np.arange(len(log)), np.array(found.rows, dtype=np.int64))
    if not len(kept):
        raise LogError("every query of the log stands in the training log; nothing is left to test on")
    return log.select(kept), (
        f"{len(found.rows)} of {len(log)} queries stand in the training log ({found.exact} exactly, {found.near} "
        "nearly) and were left out."
    )


def shared_experts(router: Router, log: OutcomeLog) -> tuple[OutcomeLog, list[str]]:
    """The log with the router's experts alone, and remarks on those that only one side has."""
    shared = [name for name in router.experts if name in log.experts]
    if not shared:
        raise LogError(
            f"the router knows {', '.join(router.experts)}; the log holds {', '.join(log.experts)}: no expert in common"
        )
    remarks = []
    for whose, names in (
        ("the router does not know", [name for name in log.experts if name not in shared]),
        ("the log has no outcome of", [name for name in router.experts if name not in shared]),
    ):
        if names:
            remarks.append(f"Left out, since {whose} them: {', '.join(names)}.")
    return log.only(shared), remarks


def ask(router: Router, log: OutcomeLog) -> tuple[Floats, Floats | None, NDArray[np.intp]]:
    """Estimates and choices for a log's experts, shapes (N, E), (N, E) and (N,); absent experts are not eligible."""
    column_E = np.array([router.experts.index(name) for name in log.experts])
    quality_NR, _, cost_NR = router.predict(log)
    eligible_R = np.zeros(len(router.experts), dtype=bool)
    eligible_R[column_E] = True
    choice_N = router.choose(log, eligible_R)
    place_R = np.zeros(len(router.experts), dtype=np.intp)
    place_R[column_E] = np.arange(len(column_E))
    cost_NE = cost_NR[:, column_E] if log.has("cost") else None
    return quality_NR[:, column_E], cost_NE, place_R[choice_N]


def recipe(router: Router) -> dict[str, object]:
    """The options that `Router.fit` needs to make such a router again from other rows."""
    return {
        "arms": router.arms,
        "estimator": router.estimator.clone(),
        "policy": router.policy.clone(),
        "guard": router.guard.enabled,
    }
