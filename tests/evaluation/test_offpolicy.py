"""A router valued on traffic that another policy served."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from turnout import registry
from turnout.errors import LogError
from turnout.evaluation.offpolicy import evaluate_offline, plain, value
from turnout.outcomes import OutcomeLog
from turnout.routers import Router

EXPERTS = ("sums", "names")


def full(n: int, seed: int) -> OutcomeLog:
    rng = np.random.default_rng(seed)
    prompts = [
        f"{'add' if i % 2 else 'name'} {rng.integers(1e9)} {'+' * (i % 2)} {rng.integers(1e9)}" for i in range(n)
    ]
    mean_NE = np.array([[0.9, 0.3] if i % 2 else [0.3, 0.7] for i in range(n)])
    return OutcomeLog.from_arrays(prompts, EXPERTS, (rng.random((n, 2)) < mean_NE).astype(float))


def logged(log: OutcomeLog, chance_E: tuple[float, float], seed: int) -> OutcomeLog:
    """What a policy that draws experts by chance would have kept of it."""
    drawn_N = (np.random.default_rng(seed).random(len(log)) >= chance_E[0]).astype(int)
    seen_NE = np.eye(2, dtype=bool)[drawn_N]
    return OutcomeLog.from_arrays(
        log.texts,
        EXPERTS,
        np.where(seen_NE, log.matrix(), np.nan),
        propensity_NE=np.where(seen_NE, np.broadcast_to(chance_E, seen_NE.shape), np.nan),
    )


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.fit(full(300, 0), estimator=registry.create("estimator", "ridge", on=("format",)))


def test_the_value_is_what_a_full_log_says(router: Router) -> None:
    """Eighty per cent of the traffic went to the wrong expert for half of the queries."""
    world = full(3000, 1)
    truth = world.matrix()[np.arange(len(world)), router.choose(world)].mean()
    found = evaluate_offline(router, logged(world, (0.8, 0.2), 2))
    for interval in (found.policy.ips, found.policy.snips, found.policy.dr):
        assert interval is not None
        assert interval.low <= truth <= interval.high
    assert found.gain_over_logged.low > 0.1
    assert found.gain_over_single.low > 0.05
    assert found.single in EXPERTS
    assert 500 < found.policy.effective < 1600
    assert found.policy.matched == pytest.approx(0.5, abs=0.05)
    assert found.policy.uncovered == 0.0
    assert found.remarks == ()
    half = evaluate_offline(router, logged(world, (0.8, 0.2), 2), explore=1.0)
    assert half.policy.dr.mean == pytest.approx(world.matrix().mean(), abs=0.03)


def test_queries_that_an_unknown_expert_served_still_count(router: Router) -> None:
    """Half of the traffic went to an expert that the router does not know, so half of it says nothing by itself."""
    world = full(3000, 5)
    truth = world.matrix()[np.arange(len(world)), router.choose(world)].mean()
    drawn_N = np.random.default_rng(6).choice(3, len(world), p=[0.25, 0.25, 0.5])
    seen_NE = np.eye(3, dtype=bool)[drawn_N]
    log = OutcomeLog.from_arrays(
        world.texts,
        (*EXPERTS, "stranger"),
        np.where(seen_NE, np.column_stack([world.matrix(), np.ones(len(world))]), np.nan),
        propensity_NE=np.where(seen_NE, [0.25, 0.25, 0.5], np.nan),
    )
    found = evaluate_offline(router, log)
    assert found.queries == len(world)
    for interval in (found.policy.ips, found.policy.snips, found.policy.dr):
        assert interval is not None
        assert interval.low <= truth <= interval.high
    assert found.logged.mean == pytest.approx(np.nansum(log.matrix()) / len(log))
    assert any("stranger" in remark for remark in found.remarks)


def test_a_full_log_has_no_need_of_weights(router: Router) -> None:
    world = full(400, 3)
    found = evaluate_offline(router, world)
    truth = world.matrix()[np.arange(len(world)), router.choose(world)].mean()
    assert found.policy.ips.mean == found.policy.dr.mean == pytest.approx(truth)
    assert found.policy.effective == pytest.approx(400)


def test_choices_that_could_not_have_been_logged_are_told(router: Router) -> None:
    """Half of the log is of a client that named `sums`, the other half was drawn at even odds."""
    world = full(400, 4)
    drawn_N = np.where(np.arange(400) < 200, 0, np.arange(400) // 2 % 2)
    seen_NE = np.eye(2, dtype=bool)[drawn_N]
    chance_NE = np.where(np.arange(400)[:, None] < 200, 1.0, 0.5)
    log = OutcomeLog.from_arrays(
        world.texts,
        EXPERTS,
        np.where(seen_NE, world.matrix(), np.nan),
        propensity_NE=np.where(seen_NE, chance_NE, np.nan),
    )
    assert value(np.ones(400, dtype=int), log, np.full((400, 2), 0.5)).uncovered == 0.5
    assert value(np.zeros(400, dtype=int), log, np.full((400, 2), 0.5)).uncovered == 0.0
    found = evaluate_offline(router, log)
    assert found.policy.uncovered == pytest.approx(0.25, abs=0.02)
    assert "could not have been logged" in found.remarks[-1]


def test_traffic_that_an_exploring_gateway_served_is_valued_from_its_export(router: Router, tmp_path: Path) -> None:
    """Traces keep signals alone. A fifth of the requests was sent by name, which no importance weight can use."""
    from turnout.store.traces import TraceStore
    from turnout.types import Decision, Plan, Request, Trace

    world, bound = full(1200, 8), router.bind(router.arms)
    truth = world.matrix()[np.arange(1200), router.choose(world)].mean()
    with TraceStore(tmp_path / "t.sqlite", keep="signals", max_days=1e9) as store:
        for n, text in enumerate(world.texts):
            decision = bound.decide(Request(text), seed=n, explore=0.5)
            if n % 5 == 0:
                decision = Decision(Plan("sums"), "forced", bound.experts, (True, False), signals=decision.signals)
            score = float(world.matrix()[n, EXPERTS.index(decision.expert)])
            store.put(Trace(f"t{n}", float(n), "auto", decision, [], decision.expert, 200, score=score))
        log = store.export(tmp_path / "log")
    assert not log.has_text
    found = evaluate_offline(router, log)
    assert found.policy.dr.low <= truth <= found.policy.dr.high
    assert found.policy.snips is not None
    assert found.policy.snips.mean == pytest.approx(truth, abs=0.05)
    assert found.policy.uncovered == pytest.approx(0.1, abs=0.03)
    assert found.policy.ips.mean < truth - 0.05, "those sent by name elsewhere count as nothing"


def test_a_partial_log_without_propensities_is_refused(router: Router) -> None:
    scores_NE = np.where(np.arange(40)[:, None] % 2 == np.arange(2), 1.0, np.nan)
    log = OutcomeLog.from_arrays(full(40, 5).texts, EXPERTS, scores_NE)
    with pytest.raises(LogError, match="no `propensity` column"):
        evaluate_offline(router, log)


def test_the_log_that_a_router_was_fitted_on_is_told(router: Router) -> None:
    found = evaluate_offline(router, full(300, 0))
    assert any("the router was fitted on" in remark for remark in found.remarks)


def test_a_report_is_plain_json_and_the_command_prints_it(
    router: Router, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from turnout.cli._value import value as command

    log = logged(full(300, 6), (0.5, 0.5), 7)
    log.write(tmp_path / "log")
    router.save(tmp_path / "router")
    command(tmp_path / "log", router=tmp_path / "router", explore=0.1, seed=0, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["policy"]["dr"]["mean"] == pytest.approx(
        plain(evaluate_offline(router, log, explore=0.1))["policy"]["dr"]["mean"], abs=1e-6
    )
    command(tmp_path / "log", router=tmp_path / "router", explore=0.0, seed=0, as_json=False)
    text = capsys.readouterr().out
    assert "doubly robust" in text
    assert "gain over always" in text
