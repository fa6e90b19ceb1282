"""What a log holds, and what two logs share.

Shape letters: N queries, E experts, G near-duplicate groups, O outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.outcomes.coverage import uneven
from turnout.outcomes.log import OutcomeLog
from turnout.outcomes.luck import luck
from turnout.outcomes.schema import NUMBERS
from turnout.stats import effective_sample_size, jaccard, near_duplicates, normalise

_EXAMPLES, _CHARACTERS = 5, 160
_TWINS = 50  # members of a group that an example is picked from


@dataclass(frozen=True, slots=True)
class Leaks:
    """Queries of a test log that stand in a train log too; true where there are any.

    `exact` counts prompts equal after lower-casing and folding white space, `near` the further ones whose
    near-duplicate group (5-gram Jaccard of at least 0.9, directly or by a chain) holds a training prompt, `same_ids`
    equal query ids. `rows` are the test log's row numbers of `exact` and `near`; leave them out of a test.
    """

    queries: int
    exact: int
    near: int
    same_ids: int
    rows: tuple[int, ...]
    examples: tuple[dict[str, Any], ...]

    def __bool__(self) -> bool:
        return bool(self.rows or self.same_ids)


def leaks(train: OutcomeLog, test: OutcomeLog) -> Leaks:
    """What `test` shares with `train`. Without text only equal ids can be counted.

    >>> train = OutcomeLog.from_arrays(["Name the capital of Peru."], ["a"], [[1]], query_ids=["t0"])
    >>> test = OutcomeLog.from_arrays(["name the  capital of Peru!", "Add 2 and 3."], ["a"], [[1], [0]])
    >>> found = leaks(train, test)
    >>> found.exact, found.near, found.examples[0]["train"]
    (0, 1, 't0')
    """
    groups = near_duplicates([*train.texts, *test.texts])
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups[: len(train)].tolist()):
        members.setdefault(group, []).append(row)
    group_N = groups[len(train) :].tolist()
    rows = [n for n, group in enumerate(group_N) if group in members]
    known = {normalise(text) for text in train.texts}
    exact = sum(normalise(test.texts[n]) in known for n in rows)
    examples = tuple(_example(train, test, n, members[group_N[n]]) for n in rows[:_EXAMPLES])
    same_ids = len(set(train.query_ids) & set(test.query_ids))
    return Leaks(len(test), exact, len(rows) - exact, same_ids, tuple(rows), examples)


def _example(train: OutcomeLog, test: OutcomeLog, n: int, twins: list[int]) -> dict[str, Any]:
    text = test.texts[n]
    similarity, twin = max((jaccard(text, train.texts[row]), -row) for row in twins[:_TWINS])
    ids = {"test": test.query_ids[n], "train": train.query_ids[-twin]}
    return {**ids, "jaccard": similarity, "text": normalise(text)[:_CHARACTERS]}


def describe(log: OutcomeLog) -> dict[str, Any]:
    """Sizes, experts, stored columns, what is missing and where, duplicates, headroom, luck, propensities, for JSON.

    Costs in US dollars per request; a mean is over what was observed, None where nothing was.

    >>> log = OutcomeLog.from_arrays(["2 + 2?", "Capital of Peru?"], ["small", "large"], [[1.0, 0.5], [0.0, 1.0]])
    >>> describe(log)["headroom"]
    {'queries': 2, 'best_single': 'large', 'best_single_score': 0.75, 'oracle': 1.0, 'gap': 0.25}
    """
    score_NE = log.matrix()
    seen_NE = np.isfinite(score_NE)
    return {
        "queries": len(log),
        "experts": len(log.experts),
        "outcomes": log.outcomes.height,
        "tasks": len({task for task in log.tasks or () if task}),
        "missing_share": float(1 - seen_NE.mean()),
        "uneven": uneven(log),
        "queries_without_outcome": int((~seen_NE.any(axis=1)).sum()),
        "queries_without_prompt": log.texts.count(""),
        "columns": {"queries": log.queries.columns, "outcomes": log.outcomes.columns},
        "stored_share": _stored(log),
        "arms": _arms(log, score_NE),
        "duplicates": _duplicates(log),
        "headroom": _headroom(log, score_NE),
        "luck": luck(log),
        "propensity": _propensity(log, seen_NE),
    }


def _stored(log: OutcomeLog) -> dict[str, float]:
    """The share of outcomes that have each measurement; 0 for a column that is not there."""
    wanted = [*(name for name in NUMBERS if name not in ("score", "propensity")), "response"]
    held = {name: log.outcomes[name].null_count() for name in wanted if name in log.outcomes.columns}
    return {name: 1 - held[name] / log.outcomes.height if name in held else 0.0 for name in wanted}


def _arms(log: OutcomeLog, score_NE: NDArray[np.float64]) -> list[dict[str, Any]]:
    """One row per expert, best mean score first."""
    cost_NE = log.matrix("cost") if log.has("cost") else np.full_like(score_NE, np.nan)
    arms = [
        {
            "expert": expert,
            "score": _mean(score_NE[:, e]),
            "cost": _mean(cost_NE[:, e]),
            "coverage": float(np.isfinite(score_NE[:, e]).mean()),
        }
        for e, expert in enumerate(log.experts)
    ]
    return sorted(arms, key=lambda arm: -(arm["score"] or 0.0))


def _mean(values: NDArray[np.float64]) -> float | None:
    seen = values[np.isfinite(values)]
    return float(seen.mean()) if len(seen) else None


def _duplicates(log: OutcomeLog) -> dict[str, Any]:
    """Groups of more than one query, the queries in them, the largest group with its first prompt, and the groups that
    lie in more than one task: a test task may hold a training task's questions."""
    groups_N = log.groups()
    size_G = np.bincount(groups_N)
    first = log.texts[int(np.argmax(groups_N == size_G.argmax()))] if len(log) else ""
    tasks = np.unique(log.tasks if log.tasks is not None else [""] * len(log), return_inverse=True)[1]
    pairs = np.unique(np.stack([groups_N, tasks]), axis=1)[0] if len(log) else groups_N
    return {
        "groups": int((size_G > 1).sum()),
        "across_tasks": int((np.bincount(pairs, minlength=len(size_G)) > 1).sum()),
        "queries": int(size_G[size_G > 1].sum()),
        "largest": int(size_G.max(initial=0)),
        "largest_prompt": normalise(first)[:_CHARACTERS] if size_G.max(initial=0) > 1 else None,
    }


def _headroom(log: OutcomeLog, score_NE: NDArray[np.float64]) -> dict[str, Any] | None:
    """Best single expert against the best observed expert per query, over queries that saw it and another one.

    On a partial log the oracle is too low (it knows observed scores only); None where no query compares two experts.
    """
    seen_NE = np.isfinite(score_NE)
    total_E = np.where(seen_NE, score_NE, 0.0).sum(axis=0)
    mean_E = np.where(seen_NE.any(axis=0), total_E / np.maximum(seen_NE.sum(axis=0), 1), -np.inf)
    best = int(mean_E.argmax())
    use_N = seen_NE[:, best] & (seen_NE.sum(axis=1) > 1)
    if not use_N.any():
        return None
    single, oracle = float(score_NE[use_N, best].mean()), float(np.nanmax(score_NE[use_N], axis=1).mean())
    scores = {"best_single_score": single, "oracle": oracle, "gap": oracle - single}
    return {"queries": int(use_N.sum()), "best_single": log.experts[best], **scores}


def _propensity(log: OutcomeLog, seen_NE: NDArray[np.bool_]) -> dict[str, float] | None:
    """The spread of propensities, and how many outcomes the importance weights leave; None where none is stored."""
    if not log.has("propensity"):
        return None
    propensity_O = log.matrix("propensity")[seen_NE]
    propensity_O = propensity_O[np.isfinite(propensity_O)]
    spread = {"min": propensity_O.min(), "median": np.median(propensity_O), "max": propensity_O.max()}
    sizes = {"outcomes": len(propensity_O), "effective_sample_size": effective_sample_size(1 / propensity_O)}
    return {name: float(value) for name, value in (spread | sizes).items()}
