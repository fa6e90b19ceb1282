"""A saved router on a log: new logs, its own log, logs that overlap, logs with other experts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from turnout import registry
from turnout.errors import LogError
from turnout.evaluation.saved import evaluate, overlap
from turnout.outcomes import OutcomeLog
from turnout.routers import Router

Make = Callable[..., OutcomeLog]


@pytest.fixture(scope="module")
def router(log: OutcomeLog) -> Router:
    return Router.fit(log, estimator=registry.create("estimator", "ridge"))


def test_a_new_log_gives_figures_without_a_warning(router: Router, make_log: Make) -> None:
    fresh = make_log(200, seed=9)
    evaluation = evaluate(router, fresh, seeds=(0,)).evaluation
    assert evaluation.warnings == ()
    assert evaluation.rows[0].accuracy.mean == pytest.approx(
        fresh.matrix()[np.arange(200), router.choose(fresh)].mean()
    )


def test_the_training_log_is_named_loudly_and_the_recipe_refitted(router: Router, log: OutcomeLog) -> None:
    assert overlap(router, log).same_log
    evaluation = evaluate(router, log, seeds=(0,)).evaluation
    assert any("fitted on" in warning for warning in evaluation.warnings)
    assert any("refitted" in warning for warning in evaluation.warnings)
    as_saved = evaluate(router, log, refit=False, seeds=(0,)).evaluation
    assert any("prove nothing" in warning for warning in as_saved.warnings)


def test_an_expert_of_one_outcome_cannot_be_held_out(log: OutcomeLog) -> None:
    scores_NE = log.matrix()
    scores_NE[1:, 0] = np.nan
    rare = OutcomeLog.from_arrays(log.texts, log.experts, scores_NE)
    with pytest.raises(LogError, match="too few scores of sums"):
        evaluate(Router.fit(rare, estimator=registry.create("estimator", "ridge")), rare, seeds=(0,))


def test_some_training_queries_in_the_log_are_found(router: Router, log: OutcomeLog, make_log: Make) -> None:
    fresh = make_log(100, seed=9)
    mixed = OutcomeLog.from_arrays(
        [*fresh.texts, *(text.upper() for text in log.texts[:40])],
        log.experts,
        np.vstack([fresh.matrix(), log.matrix()[:40]]),
        query_ids=[f"other {i}" for i in range(140)],
    )
    assert overlap(router, mixed).found == 40
    assert any("not new" in warning for warning in evaluate(router, mixed, seeds=(0,)).evaluation.warnings)
    cleaned = evaluate(router, mixed, train=log, seeds=(0,)).evaluation
    assert any("left out" in warning for warning in cleaned.warnings)
    assert cleaned.facts["queries"] == 100


def test_prompts_that_only_begin_alike_are_no_overlap() -> None:
    prompts = [f"{'The same instructions stand first. ' * 6} number {i} {i * 7919 % 9973}" for i in range(60)]
    scores = [[i % 2, 1 - i % 2] for i in range(60)]
    made = Router.fit(OutcomeLog.from_arrays(prompts[:40], ["a", "b"], scores[:40]))
    other = OutcomeLog.from_arrays(prompts[40:], ["a", "b"], scores[40:], query_ids=[f"x{i}" for i in range(20)])
    assert overlap(made, other).found == 0


def test_nothing_is_left_when_all_queries_leak(router: Router, log: OutcomeLog) -> None:
    with pytest.raises(LogError, match="nothing is left"):
        evaluate(router, log, train=log, seeds=(0,))


def test_experts_that_only_one_side_has_are_left_out_and_named(router: Router, make_log: Make) -> None:
    fresh = make_log(100, seed=9)
    scores = np.hstack([fresh.matrix()[:, 1:], np.ones((100, 1))])
    other = OutcomeLog.from_arrays(fresh.texts, ["names", "big", "stranger"], scores)
    evaluation = evaluate(router, other, seeds=(0,)).evaluation
    assert set(evaluation.rows[0].share) == {"names", "big"}
    assert any("stranger" in remark for remark in evaluation.remarks)
    assert any("sums" in remark for remark in evaluation.remarks)


def test_no_expert_in_common_is_refused(router: Router) -> None:
    other = OutcomeLog.from_arrays(["a", "b"], ["x"], [[1], [0]])
    with pytest.raises(LogError, match="no expert in common"):
        evaluate(router, other)


def test_a_router_fitted_on_stored_signals_is_evaluated_without_text(log: OutcomeLog) -> None:
    embedding = registry.create("signal", "embedding")
    silent = OutcomeLog.from_arrays(
        None,
        log.experts,
        log.matrix(),
        signals={"embedding": embedding.fit(log.texts).transform(log.texts)},
    )
    train, test = silent.split(0.5, seed=0)
    evaluation = evaluate(Router.fit(train), test, seeds=(0,)).evaluation
    gain = evaluation.rows[0].gain
    assert gain is not None
    assert gain.low > 0
    assert "prompt length" not in {row.name for row in evaluation.rows}
    assert evaluation.pair is not None
    assert [row.name for row in evaluation.pair.rows] == ["router"]
    refitted = evaluate(Router.fit(silent), silent, seeds=(0,)).evaluation
    assert any("refitted" in warning for warning in refitted.warnings)
