"""The search for a method, and the valuation of the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ConfigError, LogError, ParameterError, UnknownNameError
from turnout.estimators.base import Estimator
from turnout.evaluation import search, tuning
from turnout.evaluation.candidates import Candidate, candidates
from turnout.evaluation.goals import Goal, Held
from turnout.evaluation.protocol import folds
from turnout.evaluation.search import FINALISTS, Search
from turnout.evaluation.tables import Table
from turnout.evaluation.tuning import Tuned, tune
from turnout.features import FeatureMap, Floats
from turnout.outcomes import OutcomeLog
from turnout.prices import CostModel
from turnout.routers.costs import fit_costs, held_out_costs
from turnout.routers.evidence import gather

FAST = ("constant", "length", "ridge", "knn")


def searched(log: OutcomeLog, names: tuple[str, ...], goal: Goal | None = None, **options: object) -> Search:
    wanted = ("embedding", "format", "length")
    evidence, _ = gather(log, wanted, {})
    cost_NE = fit_costs(log, evidence, {}).predict(evidence.size_N)
    return Search(evidence, lambda signals: cost_NE, goal or Goal(), **options)  # type: ignore[arg-type]


def entries(*names: str) -> list[Candidate]:
    return [Candidate((name,), registry.create("estimator", name)) for name in names]


def test_every_router_that_is_registered_is_tried_once(log: OutcomeLog) -> None:
    tried, refused = candidates(log)
    covered = {name for candidate in tried for name in candidate.names} | set(refused)
    assert covered == {"default", *registry.names("estimator"), *registry.names("system")}
    assert tried[0].name == "default"
    assert len({repr(candidate.estimator) for candidate in tried}) == len(tried)


def test_wrong_methods_are_refused(log: OutcomeLog) -> None:
    with pytest.raises(UnknownNameError, match="nosuch"):
        candidates(log, ["nosuch"])


@pytest.mark.parametrize(("budget", "floor"), [(1.0, 0.5), (None, "worst"), (None, 1.5), (None, -0.1)])
def test_wrong_goals_are_refused(budget: float | None, floor: float | str | None) -> None:
    with pytest.raises(ConfigError):
        Goal(budget, floor)
    with pytest.raises(ConfigError, match="give one of"):
        Goal(1.0, curve=True)


def test_a_curve_is_judged_over_all_costs_where_quality_alone_sees_no_difference() -> None:
    """Both make the same choice when cost does not count; only one knows where the cheap expert is as good."""
    rng = np.random.default_rng(0)
    easy_N = rng.random(600) < 0.5
    value_NE = np.stack([np.where(easy_N, 0.9, 0.1), np.full(600, 0.9)], axis=1)
    spend_NE = np.tile([1e-4, 1e-3], (600, 1))
    blind_NE = np.tile([0.5, 0.91], (600, 1))
    helds = [Held(quality_NE, spend_NE, value_NE, spend_NE, np.arange(600), 1) for quality_NE in (value_NE, blind_NE)]
    for goal, told in ((Goal(), False), (Goal(curve=True), True)):
        knows, blind = (goal.merit(held, goal.policy(held)) for held in helds)
        assert (knows - blind > 0.05) is told
    assert Goal(curve=True).merit(helds[1], Goal().policy(helds[1])) == pytest.approx(0.7, abs=0.02)


def test_the_search_finds_what_tells_queries_apart(log: OutcomeLog) -> None:
    choice = searched(log, FAST).run(entries("constant", "length", "ridge"))
    assert "ridge" in choice.winner
    assert choice.standings[-1].name in {"constant", "length"}
    assert choice.standings[0].gain.low > 0
    assert not np.isnan(choice.found.quality_NE).any()


def test_halving_fits_few_methods_on_every_fold(log: OutcomeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FIRST", 100)
    names = ("constant", "length", "ridge", "knn", "prototype", "task_table")
    choice = searched(log, names).run(entries(*names))
    judged = {row.name: row.judged_on for row in choice.standings}
    everywhere = [name for name in names if judged[name] == len(log)]
    assert len(everywhere) <= FINALISTS + 1
    assert "constant" in everywhere  # the first stays in the race
    assert min(judged.values()) < len(log)


def test_a_search_does_not_depend_on_the_order_of_its_queries_scores_elsewhere(log: OutcomeLog) -> None:
    """The outer side never reaches the search: turning its scores around changes nothing that was estimated."""
    split = folds(Table.of(log), 4, (0,))[0]
    scores = log.matrix()
    scores[split.test_I] = 1 - scores[split.test_I]
    turned = OutcomeLog.from_arrays(log.texts, log.experts, scores, cost_NE=log.matrix("cost"), tasks=log.tasks)
    told = [Tuned(methods=FAST)(one, split.train_I, split.test_I, 0) for one in (log, turned)]
    assert (told[0].test_quality_NE == told[1].test_quality_NE).all()
    assert (told[0].choice_N == told[1].choice_N).all()
    assert told[0].winner == told[1].winner


def test_tune_values_its_search_and_saves_a_guarded_winner(log: OutcomeLog) -> None:
    found = tune(log, methods=FAST, outer=3, workers=1)
    assert found.study is not None
    row = found.study.evaluation.rows[0]
    assert row.gain is not None
    assert row.gain.low > 0
    assert len(found.winners) == 3
    assert found.router.guard.passed
    assert found.router.summary["held_out"]["table"]["router"]["quality"] > 0.7
    names = {other.name for other in found.study.evaluation.rows}
    assert {"random", "cheapest", "dearest", "best single", "prompt length", "task table", "oracle"} < names


def test_the_same_log_makes_the_same_router(log: OutcomeLog) -> None:
    first, second = (tune(log, methods=FAST, outer=0) for _ in range(2))
    assert first.study is None
    assert repr(first.router.estimator) == repr(second.router.estimator)
    assert (first.router.predict(log)[0] == second.router.predict(log)[0]).all()


def test_known_predictions_make_the_router_that_fit_would_make(log: OutcomeLog) -> None:
    from turnout.routers import Router

    found = tune(log, methods=("ridge",), outer=0, inner=3)
    plain = Router.fit(log, estimator=registry.create("estimator", "ridge"), folds=3)
    assert found.router.guard == plain.guard
    assert found.router.predict(log)[0] == pytest.approx(plain.predict(log)[0])


def test_costs_are_told_once_for_each_set_of_signals(log: OutcomeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[CostModel] = []

    def counted(model: CostModel, *rest: Any) -> Floats:
        told.append(model)
        return held_out_costs(model, *rest)

    monkeypatch.setattr(tuning, "held_out_costs", counted)
    tune(log, methods=FAST, outer=0)
    assert len({id(model) for model in told}) == len(told)


def test_a_search_where_nothing_helps_abstains(make_log: Callable[..., OutcomeLog]) -> None:
    log = make_log(200)
    scores = np.random.default_rng(1).random((200, 3)) < [0.4, 0.5, 0.6]
    noise = OutcomeLog.from_arrays(log.texts, log.experts, scores * 1.0, cost_NE=log.matrix("cost"))
    assert tune(noise, methods=("constant", "ridge"), outer=0).router.guard.abstains


def test_a_floor_saves_cost_and_a_budget_is_kept(make_log: Callable[..., OutcomeLog]) -> None:
    log, fresh = make_log(500), make_log(500, seed=1)
    spend = {}
    for name, goal in {"quality": Goal(), "floor": Goal(floor=0.6), "budget": Goal(0.3)}.items():
        router = tune(log, goal, methods=("ridge",), outer=0).router
        choice_N = router.policy.choose(*(router.predict(fresh)[at] for at in (0, 2)))
        spend[name] = 1000 * float(np.take_along_axis(fresh.matrix("cost"), choice_N[:, None], 1).mean())
    assert spend["floor"] < spend["quality"]
    assert spend["budget"] <= 0.3 * 1.1


def test_a_floor_takes_the_largest_multiplier_that_clears_it() -> None:
    n = 400
    quality_NE = np.tile([0.9, 0.8], (n, 1)) - np.linspace(0, 0.3, n)[:, None] * [0, 1]
    cost_NE = np.tile([1e-2, 1e-3], (n, 1))
    held = Held(quality_NE, cost_NE, quality_NE, cost_NE, np.arange(n), 0)
    lams = [Goal(floor=floor).policy(held).params()["lam"] for floor in (0.85, 0.75, 0.95)]
    assert lams[1] > lams[0] > 0
    assert lams[2] == 0.0


def test_a_method_that_holds_the_floor_beats_one_that_does_not_whatever_it_costs() -> None:
    n = 400
    value_NE = np.stack([np.arange(n) % 2, 1 - np.arange(n) % 2, np.full(n, 0.6)], axis=1).astype(float)
    spend_NE = np.tile([1e-2, 1e-2, 1e-3], (n, 1))
    held = {
        "knows": Held(0.5 + 0.4 * (value_NE - 0.5), spend_NE, value_NE, spend_NE, np.arange(n), 2),
        "blind": Held(np.tile([0.5, 0.5, 0.6], (n, 1)), spend_NE, value_NE, spend_NE, np.arange(n), 2),
    }
    goal = Goal(floor=0.8)
    merit = {name: goal.merit(one, goal.policy(one)) for name, one in held.items()}
    assert merit["knows"] > 1 > merit["blind"]
    dearer = goal.merit(held["knows"], registry.create("policy", "utility", lam=0.0))
    assert 1 < dearer <= merit["knows"]


def test_a_budget_that_just_holds_is_tuned_and_one_that_does_not_is_refused_at_once(
    make_log: Callable[..., OutcomeLog],
) -> None:
    log = make_log(200)
    cost_NE = np.exp(0.5 * np.random.default_rng(0).normal(size=(200, 3))) * [1e-4, 1e-2, 1e-2]
    log = OutcomeLog.from_arrays(log.texts, log.experts, log.matrix(), cost_NE=cost_NE)
    least = 1000 * float(cost_NE[:, 0].mean())
    found = tune(log, Goal(least * 1.001), methods=("constant", "ridge"), outer=3, workers=1)
    assert found.router.policy.params()["dollars_per_1k"] == pytest.approx(least * 1.001)
    with pytest.raises(ParameterError, match="must be at least"):
        tune(log, Goal(least * 0.9), methods=("constant",), outer=3, workers=1, progress=never)


def never(done: int, total: int) -> None:
    raise AssertionError("nothing should have begun")


def test_goals_in_dollars_need_costs(make_log: Callable[..., OutcomeLog]) -> None:
    with pytest.raises(ConfigError, match="needs costs"):
        tune(make_log(100, priced=False), Goal(floor="best"), methods=("constant",))


@pytest.mark.parametrize("folds", [{"outer": 1}, {"outer": -2}, {"inner": 1}])
def test_too_few_folds_are_refused(make_log: Callable[..., OutcomeLog], folds: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        tune(make_log(100), methods=("constant",), **folds)


class Slow(Estimator):
    """Takes a minute on the scripted clock."""

    def __init__(self, hand: int = 0) -> None:
        self.hand = hand

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: object) -> None:
        CLOCK[0] += 60.0
        self.mean_E_ = np.nanmean(scores_NE, axis=0)

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        rows = len(next(iter(features.values())))
        return np.tile(self.mean_E_, (rows, 1)), np.full((rows, len(self.mean_E_)), 0.1)


CLOCK = [0.0]


@pytest.fixture
def hands() -> Iterator[None]:
    CLOCK[0] = 0.0
    yield
    CLOCK[0] = 0.0


@pytest.mark.usefixtures("hands")
def test_out_of_time_methods_drop_out_and_one_is_always_fitted(log: OutcomeLog) -> None:
    tried = [*entries("constant"), *(Candidate((f"slow{n}",), Slow(n)) for n in range(3))]
    choice = searched(log, (), seconds=100.0, clock=lambda: CLOCK[0]).run(tried)
    assert "out of time" in choice.refused.values()
    assert any(row.judged_on == len(log) for row in choice.standings)


def test_a_method_that_fails_is_named_with_its_reason(log: OutcomeLog) -> None:
    broken = Candidate(("broken",), registry.create("estimator", "ridge", on=("nosuch",)))
    choice = searched(log, ()).run([*entries("constant", "length"), broken])
    assert "nosuch" in choice.refused["broken"]
    with pytest.raises(LogError, match="broken"):
        searched(log, ()).run([broken])


def test_a_log_of_a_few_queries_is_refused_in_words() -> None:
    tiny = OutcomeLog.from_arrays(["one thing", "another"], ["a", "b"], [[1, 0], [0, 1]])
    with pytest.raises(LogError, match="at least four queries"):
        tune(tiny, methods=("constant",), outer=0)


def test_a_partial_log_can_be_tuned(make_log: Callable[..., OutcomeLog]) -> None:
    found = tune(make_log(300, partial=True), methods=("constant", "ridge"), outer=2, workers=1)
    assert found.study is not None
    assert any("partial" in remark for remark in found.study.evaluation.remarks)
