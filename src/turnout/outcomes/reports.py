"""What a log holds, and what two logs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from turnout.outcomes.log import OutcomeLog
from turnout.stats import effective_sample_size, jaccard, near_duplicates, normalise

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Leaks:
    """Queries of a test log that stand in a train log too.

    `exact` after lower-casing and folding white space, `near` with a 5-gram Jaccard of at least 0.9 (directly or by
    a chain). `rows` are the test log's row numbers of both.
    """

    queries: int
    exact: int
    near: int
    same_ids: int
    rows: tuple[int, ...]
    examples: tuple[dict[str, Any], ...]

    def __bool__(self) -> bool:
        return bool(self.rows)


def leaks(train: OutcomeLog, test: OutcomeLog) -> Leaks:
    """Prompts of `test` that `train` holds as well. Without text only equal ids can be counted."""
    groups = near_duplicates([*train.texts, *test.texts])
    first: dict[int, int] = {}
    for row, group in enumerate(groups[: len(train)].tolist()):
        first.setdefault(group, row)
    known = {normalise(text) for text in train.texts if text.strip()}
    rows = [n for n, group in enumerate(groups[len(train) :].tolist()) if group in first]
    exact = [n for n in rows if normalise(test.texts[n]) in known]
    examples = []
    for n in rows[:_SHOWN]:
        twin = first[int(groups[len(train) + n])]
        similarity = jaccard(test.texts[n], train.texts[twin])
        pair = {"test": test.query_ids[n], "train": train.query_ids[twin], "text": test.texts[n][:200]}
        examples.append({**pair, "jaccard": similarity})
    same_ids = len(set(train.query_ids) & set(test.query_ids))
    return Leaks(len(test), len(exact), len(rows) - len(exact), same_ids, tuple(rows), tuple(examples))


def describe(log: OutcomeLog) -> dict[str, Any]:
    """Sizes, experts, stored columns, duplicates and headroom, as plain JSON values."""
    score_NE = log.matrix()
    seen_NE = np.isfinite(score_NE)
    size_G = np.bincount(log.groups())
    described: dict[str, Any] = {
        "queries": len(log),
        "experts": len(log.experts),
        "outcomes": log.outcomes.height,
        "missing_share": float(1 - seen_NE.mean()),
        "duplicates": {
            "groups": int((size_G > 1).sum()),
            "queries": int(size_G[size_G > 1].sum()),
            "largest": int(size_G.max()),
        },
    }
    if log.has("propensity"):
        weights = 1.0 / log.matrix("propensity")[seen_NE]
        described["effective_sample_size"] = effective_sample_size(weights[np.isfinite(weights)])
    return described
