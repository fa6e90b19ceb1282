"""How well held-out predictions tell apart the experts that could be chosen. Shape letters: N queries, E experts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from turnout.features import Floats

NEAR = 0.1  # a score this far below a query's best prediction counts 1 / e


def choose_by_contenders(candidates: Sequence[Floats], scores_NE: Floats, weights_NE: Floats) -> int:
    """The index of the candidate with the least error in the differences between contenders.

    A candidate holds leave-one-out predictions (N, E). An expert's weight in a query falls with its distance from the
    best prediction (of the middle candidate); a query's error is the weighted variance of its residuals, so what all
    experts share, the query's difficulty, does not count: it never changes a choice. Where no query has two observed
    experts, the plain squared error decides. Without weight a score is not read.
    """
    seen_NE = weights_NE > 0
    middle_NE = np.where(seen_NE, candidates[len(candidates) // 2], -np.inf)
    filled_NE = np.where(seen_NE, scores_NE, 0.0)
    several_N = seen_NE.sum(axis=1) > 1
    if not several_N.any():
        errors = [(weights_NE * (filled_NE - p_NE) ** 2).sum() for p_NE in candidates]
        return int(np.argmin(errors))
    near_NE = nearness(middle_NE[several_N])
    totals = []
    for p_NE in candidates:
        left_NE = np.where(seen_NE, filled_NE - p_NE, 0.0)[several_N]
        shared_N1 = (near_NE * left_NE).sum(axis=1, keepdims=True)
        totals.append(float((near_NE * (left_NE - shared_N1) ** 2).sum()))
    return int(np.argmin(totals))


def nearness(guess_NE: Floats) -> Floats:
    """How much each expert contends for a query, rows summing to one; −inf stands for an expert that does not."""
    near_NE = np.exp((guess_NE - guess_NE.max(axis=1, keepdims=True)) / NEAR)
    return np.asarray(near_NE / near_NE.sum(axis=1, keepdims=True))
