"""Fitting: it routes where there is signal, abstains where there is none, and takes partial logs."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ConfigError, LogError, ParameterError, UnknownNameError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.evidence import prompt_sizes
from turnout.routers.fitting import named_estimator
from turnout.types import Price, Request

SUM, WORDS = "7231 + 8812 + 9912 + 1231 + 5512 =", "Tell me about bakeli monupra stotrivel and wixyonzed?"


def test_routes_on_a_log_with_signal(router):
    assert router.guard.passed
    assert router.guard.low > 0.2
    assert [d.expert for d in router.decide([Request(SUM), Request(WORDS)])] == ["maths", "words"]
    table = router.summary["held_out"]["table"]
    assert table["router"]["quality"] > table["best single"]["quality"] + 0.2
    assert table["oracle"]["quality"] >= table["router"]["quality"]
    assert table["cheapest"]["expert"] == "small"


@pytest.mark.parametrize("seed", range(4))
def test_abstains_on_noise(make_log, make_router, seed):
    router = make_router(make_log(seed=seed, gain=0.0))
    assert router.guard.abstains
    decisions = router.decide([Request(SUM), Request(WORDS)])
    assert {d.expert for d in decisions} == {router.guard.baseline}
    assert {d.reason for d in decisions} == {"abstained"}
    assert "abstains" in router.guard.words()


def test_the_guard_can_be_switched_off(make_log, make_router):
    log = make_log(gain=0.0)
    assert make_router(log, guard=False).decide([Request(SUM)])[0].reason == "routed"
    assert not make_router(log, guard=False).guard.passed


@pytest.mark.parametrize("gain", [0.0, 0.06])
def test_is_not_worse_than_the_best_single_on_fresh_queries(make_log, make_router, gain):
    """Over eight simulated logs the mean loss on fresh queries stays within one standard error of none."""
    gains = []
    for seed in range(8):
        router = make_router(make_log(200, seed=seed, gain=gain))
        fresh = make_log(1000, seed=1000 + seed, gain=gain)
        scores_NE = fresh.matrix()
        chosen_N = scores_NE[np.arange(len(fresh)), router.choose(fresh)]
        gains.append(float(chosen_N.mean() - scores_NE[:, router.experts.index(router.guard.baseline)].mean()))
    assert np.mean(gains) > -np.std(gains) / np.sqrt(len(gains)) - 1e-3


def test_a_fixed_baseline_is_the_one_to_beat(make_router):
    assert make_router(baseline="small").guard.baseline == "small"
    with pytest.raises(UnknownNameError, match="did you mean 'small'"):
        make_router(baseline="smal")


@pytest.mark.parametrize("name", registry.names("policy"))
def test_every_policy_fits_and_decides(make_log, make_router, name):
    router = make_router(policy=registry.create("policy", name))
    assert router.decide([Request(SUM)])[0].expert in router.experts
    assert np.isfinite(router.guard.lam)


def test_a_budget_holds_on_the_log_and_out_of_reach_ones_are_refused(make_log, make_router):
    log = make_log()
    router = make_router(log, policy=registry.create("policy", "budget", dollars_per_1k=0.1))
    _, _, cost_NE = router.predict(log)
    choice_N = router.policy.choose(*router.predict(log)[::2])
    assert 1000 * cost_NE[np.arange(len(log)), choice_N].mean() <= 0.11
    with pytest.raises(ParameterError, match="at least"):
        make_router(log, policy=registry.create("policy", "budget", dollars_per_1k=1e-9))


def test_an_abstaining_budget_keeps_to_the_budget(make_log, make_router):
    router = make_router(make_log(gain=0.0), policy=registry.create("policy", "budget", dollars_per_1k=0.1))
    assert router.guard.abstains
    assert router.guard.baseline == "small"


def test_partial_logs_with_propensities(make_log, make_router):
    full = make_log(1500)
    rng = np.random.default_rng(1)
    scores_NE = full.matrix()
    arm_N = rng.choice(3, len(full), p=[0.2, 0.5, 0.3])
    logged_NE = np.where(np.arange(3) == arm_N[:, None], scores_NE, np.nan)
    log = OutcomeLog.from_arrays(
        full.texts, full.experts, logged_NE, propensity_NE=np.tile([0.2, 0.5, 0.3], (len(full), 1))
    )
    router = make_router(log)
    assert router.guard.passed
    exact = make_router(full).summary["held_out"]["table"]["router"]["quality"]
    table = router.summary["held_out"]["table"]
    assert table["router"]["low"] < exact < table["router"]["high"]
    assert "oracle" not in table


def test_what_knows_no_difference_shows_no_gain_on_a_partial_log(make_log, make_router):
    """Best single and constant estimates must be the same choice, however rarely an expert was tried."""
    full = make_log(1000)
    arm_N = np.random.default_rng(3).choice(3, len(full), p=[0.1, 0.1, 0.8])
    logged_NE = np.where(np.arange(3) == arm_N[:, None], full.matrix(), np.nan)
    propensity_NE = np.tile([0.1, 0.1, 0.8], (len(full), 1))
    log = OutcomeLog.from_arrays(full.texts, full.experts, logged_NE, propensity_NE=propensity_NE)
    router = make_router(log, estimator=registry.create("estimator", "constant"))
    assert router.guard.abstains
    assert router.guard.gain == 0.0


def test_a_log_without_exploration_cannot_pass_the_guard(make_log, make_router):
    full = make_log(600)
    logged_NE = np.where([True, False, False], full.matrix(), np.nan)
    logged_NE[:3] = full.matrix()[:3]
    log = OutcomeLog.from_arrays(full.texts, full.experts, logged_NE, propensity_NE=np.ones_like(logged_NE))
    router = make_router(log)
    assert router.guard.abstains
    assert router.guard.baseline == "small"  # the others have three outcomes each
    assert router.guard.support < 20


def test_a_matrix_with_holes_is_fitted(make_log, make_router):
    full = make_log(800)
    holes_NE = np.where(np.random.default_rng(0).random((800, 3)) < 0.4, np.nan, full.matrix())
    router = make_router(OutcomeLog.from_arrays(full.texts, full.experts, holes_NE))
    assert router.guard.passed


def test_a_log_without_text_is_fitted_on_its_stored_signals(make_log):
    full = make_log()
    stored = registry.create("signal", "format").transform(full.texts)
    log = OutcomeLog.from_arrays(None, full.experts, full.matrix(), signals={"format": stored})
    router = Router.fit(log, novelty=0.0)
    assert router.signal_names == ("format",)
    assert [d.expert for d in router.decide([Request(SUM), Request(WORDS)])] == ["maths", "words"]
    bare = OutcomeLog.from_arrays(None, full.experts, full.matrix())
    with pytest.raises(LogError, match="neither prompts nor stored signals"):
        Router.fit(bare)


def test_a_log_that_kept_some_prompts_uses_stored_signals_for_the_others(make_log, make_router):
    full = make_log(300)
    stored = registry.create("signal", "format").transform(full.texts)
    some = [text if n % 4 < 2 else None for n, text in enumerate(full.texts)]
    counts = {"prompt_tokens": np.full((300, 3), 77)}
    log = OutcomeLog.from_arrays(some, full.experts, full.matrix(), signals={"format": stored}, columns_NE=counts)
    mixed, whole = make_router(log, arms=()), make_router(full, arms=())
    assert mixed.predict([SUM, WORDS])[0] == pytest.approx(whole.predict([SUM, WORDS])[0], abs=0.02)
    assert prompt_sizes(log)[2] == 77


def test_missing_stored_signals_are_named(make_log):
    full = make_log(40)
    log = OutcomeLog.from_arrays(None, full.experts, full.matrix(), signals={"format": np.zeros((40, 2))})
    with pytest.raises(LogError, match=r"signal\.embedding"):
        Router.fit(log, estimator=registry.create("estimator", "ridge", on=("embedding",)))


def test_experts_and_queries_without_scores_are_left_out(make_log, make_router):
    full = make_log(100)
    router = make_router(full.only(["small", "words"]))
    assert router.experts == ("small", "words")


@pytest.mark.parametrize("n", [1, 2, 5, 25])
def test_tiny_logs_abstain_instead_of_failing(make_log, make_router, n):
    router = make_router(make_log(n))
    assert router.decide([Request(SUM)])[0].expert in router.experts
    if n < 20:
        assert router.guard.abstains
        assert router.guard.words().startswith("abstains")


def test_one_expert(make_log, make_router):
    router = make_router(make_log(60).only(["maths"]))
    assert router.decide([Request(SUM)])[0].reason == "only"


def test_stated_prices_win_over_logged_costs(make_log, make_router):
    router = make_router(make_log())
    assert router.costs.prices == (Price(0.1, 0.4), Price(1.0, 4.0), Price(1.0, 4.0))


def test_the_same_log_and_seed_give_the_same_router(make_log, make_router):
    log = make_log(200)
    one, two = make_router(log), make_router(log)
    assert all(np.array_equal(a, b) for a, b in zip(one.predict(log), two.predict(log), strict=True))
    assert one.guard == two.guard
    assert one.summary == two.summary


def test_a_named_estimator_reads_further_signals():
    assert named_estimator("ridge@own").signals == ("embedding", "format", "own")
    trees, ridge = named_estimator(" trees@own@arithmetic + ridge").params()["members"]
    assert trees.signals == ("embedding", "format", "length", "own", "arithmetic")
    assert ridge.signals == ("embedding", "format")
    with pytest.raises(UnknownNameError, match="did you mean 'own'"):
        named_estimator("ridge@owm")
    with pytest.raises(ConfigError, match=r"estimator 'knn' names its signals not in `on`.*own"):
        named_estimator("knn@own")
