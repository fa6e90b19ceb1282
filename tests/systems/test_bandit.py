"""GreenServ's measurement: learned from one side, valued on the other, and never by what it learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from turnout import registry
from turnout.evaluation import datasets
from turnout.evaluation.tables import Table
from turnout.outcomes import OutcomeLog
from turnout.systems._bandit import aligned, crossed, fitted, replayed, tuned
from turnout.systems.base import Run


def world() -> tuple[OutcomeLog, np.ndarray]:
    """Two kinds of prompt, two arms, a third of the rewards seen."""
    rng = np.random.default_rng(0)
    truth_NE = np.array([[0.9, 0.1] if n % 2 else [0.2, 0.8] for n in range(600)])
    seen_NE = rng.random((600, 2)) < 1 / 3
    prompts = [f"{'Solve the sum' if n % 2 else 'Who was the painter'} {rng.integers(1e9)}?" for n in range(600)]
    log = OutcomeLog.from_arrays(
        prompts, ["a", "b"], np.where(seen_NE, truth_NE, np.nan), propensity_NE=np.where(seen_NE, 1 / 3, np.nan)
    )
    return log, truth_NE


def test_the_value_of_a_contextual_choice_is_found_from_a_third_of_the_rewards() -> None:
    log, _ = world()
    table = Table.of(log)
    arms = registry.create("estimator", "linear_arms", on=("embedding",), clusters=2)
    features = {n: registry.create("signal", n).fit(log.texts).transform(log.texts) for n in arms.signals}
    run = Run(None, "", (0,))
    value_N = crossed(table, fitted(arms, features, log.matrix()), run)
    assert abs(value_N.mean() - 0.85) < 0.03
    learned = replayed(arms, features, table, (0, 1))
    assert 0.75 < learned.mean < 0.9


def test_settings_are_chosen_without_a_look_at_the_test_side() -> None:
    log, _ = world()
    table = Table.of(log)
    arms = registry.create("estimator", "linear_arms", on=("embedding",), tasks=False)
    features = {n: registry.create("signal", n).fit(log.texts).transform(log.texts) for n in arms.signals}
    train_I, test_I = np.arange(400), np.arange(400, 600)
    spoiled = table.value_NE.copy()
    spoiled[test_I] = 1 - spoiled[test_I]
    turned = replace(table, value_NE=spoiled)
    chosen, again = (tuned(arms, features, log.matrix(), one)(train_I, test_I) for one in (table, turned))
    assert np.array_equal(chosen, again)
    assert (chosen * table.value_NE[test_I]).sum(axis=1).mean() > 0.8


def test_rewards_are_put_in_the_rows_and_columns_of_the_log() -> None:
    log, _ = world()
    turned = OutcomeLog.from_arrays(
        log.texts[::-1], ["b", "a"], np.arange(1200.0).reshape(600, 2) / 1200, query_ids=log.query_ids[::-1]
    )
    wanted = {"b": 1198 / 1200, "a": 1199 / 1200}
    assert aligned(turned, log)[0].tolist() == [wanted[name] for name in log.experts]


def test_greenservs_own_log_holds_more_rewards_than_its_uniform_part(shared_data: Path) -> None:
    uniform, everything = datasets.load("greenserv", shared_data), datasets.greenserv_rewards(shared_data)
    assert (uniform.outcomes.height, everything.outcomes.height) == (11_008, 16_807)
    seen_NE = np.isfinite(uniform.matrix())
    same_NE = aligned(everything, uniform)
    assert np.array_equal(same_NE[seen_NE], uniform.matrix()[seen_NE]), "a reward is the same whoever drew it"
    assert not everything.has("propensity")
