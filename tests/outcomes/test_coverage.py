"""Experts that were asked about some tasks more than about others."""

from __future__ import annotations

import numpy as np

from turnout.outcomes import OutcomeLog
from turnout.outcomes.coverage import uneven, words

NAN = float("nan")
TASKS = ["easy"] * 60 + ["hard"] * 40


def log_of(seen_N: np.ndarray, **more: object) -> OutcomeLog:
    scores_NE = np.stack([np.ones(100), np.where(seen_N, 1.0, NAN)], axis=1)
    return OutcomeLog.from_arrays(None, ["always", "sometimes"], scores_NE, **{"tasks": TASKS, **more})  # type: ignore[arg-type]


def test_an_expert_asked_about_one_task_is_named() -> None:
    found = uneven(log_of(np.arange(100) < 30))
    assert [one["expert"] for one in found] == ["sometimes"]
    assert words(found[0]) == "sometimes was asked about 0% of hard and 50% of easy"


def test_chance_is_not() -> None:
    assert uneven(log_of(np.random.default_rng(0).random(100) < 0.3)) == []


def test_nothing_is_said_without_tasks_or_where_propensities_tell() -> None:
    seen_N = np.arange(100) < 30
    assert uneven(log_of(seen_N, tasks=None)) == []
    propensity_NE = np.where(seen_N, 0.3, NAN)[:, None] * [0.0, 1.0] + [1.0, 0.0]
    assert uneven(log_of(seen_N, propensity_NE=propensity_NE)) == []
