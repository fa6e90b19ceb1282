"""Partial logs: pseudo-outcomes are unbiased where the propensities are right."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.errors import LogError
from turnout.evaluation.tables import Table, pseudo_outcomes, task_means
from turnout.outcomes import OutcomeLog


def partial(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    tasks = [f"t{i % 3}" for i in range(n)]
    truth_NE = (rng.random((n, 2)) < np.where(np.arange(n)[:, None] % 3 == 0, [0.8, 0.3], [0.2, 0.6])) * 1.0
    seen_NE = np.where(rng.random((n, 2)) < [1.0, 0.3], truth_NE, np.nan)
    return truth_NE, seen_NE, tasks


def test_a_full_log_is_worth_its_scores() -> None:
    log = OutcomeLog.from_arrays(["a", "b"], ["x", "y"], [[0.0, 1.0], [0.5, 0.25]], cost_NE=[[1, 2], [1, 2]])
    table = Table.of(log)
    assert table.full
    assert table.value_NE.tolist() == [[0.0, 1.0], [0.5, 0.25]]
    assert table.spend_NE is not None
    assert table.spend_NE.tolist() == [[1.0, 2.0], [1.0, 2.0]]


def test_pseudo_outcomes_recover_the_mean_of_a_choice_that_depends_on_the_task() -> None:
    errors = []
    for seed in range(20):
        truth_NE, seen_NE, tasks = partial(seed)
        log = OutcomeLog.from_arrays([f"q {i} {i * 7919}" for i in range(len(tasks))], ["x", "y"], seen_NE, tasks=tasks)
        table = Table.of(log)
        choice_N = np.where(np.arange(len(tasks)) % 3 == 0, 0, 1)
        rows = np.arange(len(tasks))
        errors.append(table.value_NE[rows, choice_N].mean() - truth_NE[rows, choice_N].mean())
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(20)
    assert np.std(errors) < 0.03


def test_imputing_the_guess_alone_would_be_biased_and_the_correction_mends_it() -> None:
    truth_NE, seen_NE, _ = partial(0)
    wrong_NE = np.full(seen_NE.shape, 0.9)
    corrected_NE = pseudo_outcomes(seen_NE, np.tile([1.0, 0.3], (len(seen_NE), 1)), wrong_NE)
    assert corrected_NE.mean(axis=0) == pytest.approx(truth_NE.mean(axis=0), abs=0.04)
    assert abs(np.where(np.isfinite(seen_NE), seen_NE, wrong_NE)[:, 1].mean() - truth_NE[:, 1].mean()) > 0.2


def test_task_means_leave_the_row_itself_out() -> None:
    seen_NE = np.array([[1.0], [0.0], [0.0]])
    assert task_means(seen_NE, ["a", "a", "a"]).ravel().tolist() == pytest.approx([0.0, 0.5, 0.5])


def test_logged_propensities_are_used() -> None:
    log = OutcomeLog.from_arrays(
        ["a", "b", "c", "d"],
        ["x", "y"],
        [[1, np.nan], [1, np.nan], [np.nan, 0], [1, 1]],
        propensity_NE=[[0.9, np.nan], [0.9, np.nan], [np.nan, 0.1], [0.9, 0.1]],
    )
    table = Table.of(log)
    guess_NE = task_means(table.score_NE, None)
    assert table.value_NE[2, 1] == pytest.approx(guess_NE[2, 1] + (0 - guess_NE[2, 1]) / 0.1)


def test_an_expert_without_any_score_is_refused() -> None:
    log = OutcomeLog.from_arrays(["a", "b"], ["x", "y"], [[0.0, 1.0], [0.5, 0.25]]).only(["x", "y"])
    empty = log.select([0]).only(["x"])
    assert Table.of(empty).experts == ("x",)
    one = OutcomeLog.from_arrays(["a", "b"], ["x", "y"], [[0.0, np.nan], [0.5, 0.25]]).select([0])
    with pytest.raises(LogError, match="no score at all for y"):
        Table.of(one)
