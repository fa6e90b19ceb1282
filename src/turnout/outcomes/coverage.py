"""Whether experts were asked about some tasks more than about others: then outcomes are not missing at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from turnout.outcomes.log import OutcomeLog

SURE = 1e-3  # the p-value below which a difference between tasks is taken for one
FEW = 5  # queries of a task below which its share is not worth naming


def uneven(log: OutcomeLog) -> list[dict[str, Any]]:
    """Experts whose share of observed queries differs between tasks, by Pearson's chi-squared test, and how far.

    What a log says of such an expert holds where it was asked; elsewhere it is an estimate that no outcome has checked.
    Empty where a log stores propensities, which tell how experts were chosen, or names no tasks.

    >>> seen_N1 = np.where(np.arange(80)[:, None] < 40, 1.0, np.nan)
    >>> tasks = ["easy"] * 50 + ["hard"] * 30
    >>> log = OutcomeLog.from_arrays(None, ["a", "b"], np.hstack([np.ones((80, 1)), seen_N1]), tasks=tasks)
    >>> uneven(log)
    [{'expert': 'b', 'least': {'task': 'hard', 'share': 0.0}, 'most': {'task': 'easy', 'share': 0.8}}]
    """
    if log.tasks is None or log.has("propensity"):
        return []
    from scipy.stats import chi2_contingency

    names, task_N = np.unique(np.array(log.tasks), return_inverse=True)
    size_T = np.bincount(task_N)
    named_T = np.flatnonzero(size_T >= FEW)
    found = []
    for expert, seen_N in zip(log.experts, np.isfinite(log.matrix()).T, strict=True):
        asked_T = np.bincount(task_N, weights=seen_N)
        if len(named_T) < 2 or seen_N.all() or not seen_N.any():
            continue
        if chi2_contingency(np.stack([asked_T, size_T - asked_T])).pvalue < SURE:
            share_T = asked_T[named_T] / size_T[named_T]
            ends = {"least": int(share_T.argmin()), "most": int(share_T.argmax())}
            told = {
                end: {"task": str(names[named_T[t]]), "share": round(float(share_T[t]), 4)} for end, t in ends.items()
            }
            found.append({"expert": expert, **told})
    return found


def words(one: dict[str, Any]) -> str:
    """A line of `uneven` for people."""
    least, most = (f"{one[end]['share']:.0%} of {one[end]['task']}" for end in ("least", "most"))
    return f"{one['expert']} was asked about {least} and {most}"
