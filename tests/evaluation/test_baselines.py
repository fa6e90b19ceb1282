"""Baselines: what they choose, and that they learn from the training side alone."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.evaluation.baselines import BASELINES, best_single
from turnout.evaluation.tables import Table

BY_NAME = {baseline.name: baseline for baseline in BASELINES}


def table(scores: list[list[float]], **given: object) -> Table:
    texts = given.pop("texts", [f"text {i}" for i in range(len(scores))])
    score_NE = np.array(scores, dtype=float)
    experts = tuple("abcdef"[: score_NE.shape[1]])
    return Table(experts, texts, np.arange(len(scores)), score_NE, **given)  # type: ignore[arg-type]


COST = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
TRAIN = table([[0, 1, 0.5], [0, 0.5, 1]], cost_NE=COST, tasks=["x", "y"])
TEST = table([[1, 1, 0], [0, 0, 0]], cost_NE=COST, tasks=["y", "x"])


def chosen(name: str, train: Table = TRAIN, test: Table = TEST) -> list[int]:
    share_NE = BY_NAME[name].choose(train, test)
    assert share_NE is not None
    assert share_NE.sum(axis=1) == pytest.approx(1)
    return share_NE.argmax(axis=1).tolist()


def test_all_the_baselines_that_must_be_beaten_are_there() -> None:
    assert [*BY_NAME] == ["random", "cheapest", "dearest", "best single", "prompt length", "task table", "oracle"]


def test_random_is_the_expectation() -> None:
    share_NE = BY_NAME["random"].choose(TRAIN, TEST)
    assert share_NE is not None
    assert share_NE.tolist() == [[1 / 3] * 3] * 2


def test_cheapest_and_dearest_go_by_cost() -> None:
    assert chosen("cheapest") == [0, 0]
    assert chosen("dearest") == [2, 2]


def test_best_single_is_chosen_on_the_training_side_and_ties_go_to_the_cheaper() -> None:
    assert TRAIN.score_NE.mean(axis=0).tolist() == [0, 0.75, 0.75]
    assert best_single(TRAIN) == 1
    assert chosen("best single") == [1, 1]


def test_oracle_is_the_cheapest_among_the_best() -> None:
    assert chosen("oracle") == [0, 0]
    unpriced = table([[0, 1, 1]])
    assert chosen("oracle", unpriced, unpriced) == [1]


def test_oracle_takes_the_best_expert_though_nobody_told_its_cost() -> None:
    part = table([[0, 1, 0.5], [1, 1, 0]], cost_NE=np.array([[1.0, np.nan, 2.0]] * 2))
    assert chosen("oracle", part, part) == [1, 0]


def test_oracle_knows_observed_outcomes_only() -> None:
    partial = table([[np.nan, 0.4, np.nan], [0.1, np.nan, 0.2], [0, 0, 0]])
    assert chosen("oracle", partial, partial)[:2] == [1, 2]


def test_task_table_learns_the_best_expert_per_task_and_falls_back_on_unknown_tasks() -> None:
    scores = [[1, 0]] * 20 + [[0, 1]] * 30
    train = table(scores, tasks=["x"] * 20 + ["y"] * 30)
    test = table([[0, 0]] * 3, tasks=["x", "y", "new"])
    assert chosen("task table", train, test) == [0, 1, 1]


def test_prompt_length_learns_who_is_good_at_long_prompts() -> None:
    texts = ["x" * (10 if i < 200 else 1000) for i in range(400)]
    train = table([[1, 0] if i < 200 else [0, 1] for i in range(400)], texts=texts)
    test = table([[0, 0]] * 2, texts=["y" * 12, "z" * 900])
    assert chosen("prompt length", train, test) == [0, 1]


@pytest.mark.parametrize(("name", "bare"), [("cheapest", "cost"), ("dearest", "cost"), ("task table", "tasks")])
def test_what_a_log_lacks_leaves_the_baseline_out(name: str, bare: str) -> None:
    without = table([[0, 1]], **({} if bare == "cost" else {"cost_NE": np.ones((1, 2))}))
    assert BY_NAME[name].choose(without, without) is None


def test_without_texts_there_is_no_length_baseline() -> None:
    silent = table([[0, 1]], texts=[""])
    assert BY_NAME["prompt length"].choose(silent, silent) is None


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "oracle"])
def test_no_baseline_but_the_oracle_looks_at_test_scores(name: str) -> None:
    other = table([[0, 0, 1], [1, 0, 0]], cost_NE=COST, tasks=["y", "x"])
    first, second = BY_NAME[name].choose(TRAIN, TEST), BY_NAME[name].choose(TRAIN, other)
    assert first is not None
    assert second is not None
    assert (first == second).all()
