"""Decisions on a live pool: constraints, exploration, conversations, newcomers; the batch equals the single."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from turnout.errors import ConfigError, RequestError, StateError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.types import Arm, Limits, Price, Request

SUM, WORDS = "7231 + 8812 + 9912 + 1231 + 5512 =", "Tell me about bakeli monupra stotrivel and wixyonzed?"
FEATURES = ["tools", "response_format", "logprobs", "prefill"]


def test_a_decision_carries_what_explains_it(router, arms):
    decision = router.bind(arms).decide(Request(SUM), seed=7)
    assert decision.expert == "maths"
    assert decision.plan.fallbacks == ("small", "words")
    assert decision.experts == ("small", "maths", "words")
    assert decision.eligible == (True, True, True)
    assert decision.quality[1] == max(decision.quality) > 0.7
    assert decision.estimate("cost") == decision.cost[1] > 0
    assert all(0 < se < 0.5 for se in decision.se)
    assert decision.objective == pytest.approx(decision.quality)
    assert (decision.propensity, decision.seed, decision.reason) == (1.0, 7, "routed")
    assert decision.signals["format"].ndim == 1


def test_the_batch_decides_as_the_single(router, arms):
    bound = router.bind(arms)
    requests = [Request(text, bytes=4 * i, max_tokens=i or None) for i, text in enumerate([SUM, WORDS] * 20)]
    many = bound.decide_many(requests, seed=3, explore=0.3)
    for n, (request, decision) in enumerate(zip(requests, many, strict=True)):
        one = bound.decide(request, seed=3 + n, explore=0.3)
        assert (one.plan, one.reason, one.propensity) == (decision.plan, decision.reason, decision.propensity)
        assert one.quality == pytest.approx(decision.quality)
        assert one.cost == pytest.approx(decision.cost)
    assert bound.decide_many([]) == []


def test_constraints_are_refusals(router, arms):
    bound = router.bind(arms)
    tools = bound.decide(Request(WORDS, needs=frozenset({"tools"})), seed=0)
    assert tools.expert != "words"
    assert tools.eligible == (True, True, False)
    assert tools.refusals == {"words": "no tools"}
    long = bound.decide(Request(SUM, bytes=40_000), seed=0)
    assert long.refusals == {"maths": "about 10000 tokens exceed the context of 2000"}
    assert bound.decide(Request(SUM, allow=frozenset({"words"})), seed=0).reason == "only"
    assert bound.decide(Request(SUM, deny=frozenset({"maths"})), seed=0).refusals == {"maths": "denied"}


def test_nobody_eligible_names_every_refusal(router, arms):
    tight = [replace(arm, limits=Limits(context=10)) for arm in arms]
    with pytest.raises(RequestError, match="small: about 2000 tokens") as caught:
        router.bind(tight).decide(Request(SUM, bytes=8000), seed=0)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    with pytest.raises(RequestError, match="maths: denied") as caught:
        router.bind(arms).decide(Request(SUM, deny=frozenset({"small", "maths", "words"})), seed=0)
    assert caught.value.code == "no_eligible_expert"
    mixed = [tight[0], replace(arms[1], limits=Limits(features=frozenset()))]
    with pytest.raises(RequestError) as caught:
        router.bind(mixed).decide(Request(SUM, bytes=8000, needs=frozenset({"tools"})), seed=0)
    assert caught.value.code == "no_eligible_expert"


@settings(max_examples=60, deadline=None)
@given(
    needs=st.sets(st.sampled_from(FEATURES)),
    bytes_=st.integers(0, 20_000),
    max_tokens=st.none() | st.integers(1, 3000),
    allow=st.none() | st.sets(st.sampled_from(["small", "maths", "words", "stranger"])),
    deny=st.sets(st.sampled_from(["small", "maths", "words"])),
    previous=st.sampled_from([None, "small", "maths", "words", "gone"]),
    explore=st.floats(0, 1),
    seed=st.integers(-(2**70), 2**70),
)
def test_never_an_ineligible_expert(  # noqa: PLR0917 (hypothesis gives them by name)
    router, arms, needs, bytes_, max_tokens, allow, deny, previous, explore, seed
):
    request = Request(
        SUM,
        bytes=bytes_,
        needs=frozenset(needs),
        max_tokens=max_tokens,
        allow=None if allow is None else frozenset(allow),
        deny=frozenset(deny),
        previous=previous,
    )
    able = {
        arm.id
        for arm in arms
        if arm.limits.refusal(request) is None and arm.id not in deny and (allow is None or arm.id in allow)
    }
    bound = router.bind(arms)
    if not able:
        with pytest.raises(RequestError):
            bound.decide(request, seed=seed, explore=explore)
        return
    decision = bound.decide(request, seed=seed, explore=explore, switch_margin=0.1)
    assert {decision.expert, *decision.plan.fallbacks} == able
    assert {e for e, flag in zip(decision.experts, decision.eligible, strict=True) if flag} == able
    assert set(decision.refusals) == set(decision.experts) - able
    assert 0 < decision.propensity <= 1
    assert bound.decide(request, seed=seed, explore=explore, switch_margin=0.1).plan == decision.plan


def test_recorded_propensities_are_the_frequencies(router, arms):
    bound = router.bind(arms)
    decisions = [bound.decide(Request(SUM), seed=seed, explore=0.3) for seed in range(6000)]
    recorded = {decision.expert: decision.propensity for decision in decisions}
    assert sum(recorded.values()) == pytest.approx(1.0)
    assert recorded == pytest.approx({"maths": 0.8, "small": 0.1, "words": 0.1})
    seen = Counter(decision.expert for decision in decisions)
    for expert, propensity in recorded.items():
        spread = np.sqrt(propensity * (1 - propensity) / len(decisions))
        assert abs(seen[expert] / len(decisions) - propensity) < 4 * spread
    assert {d.reason for d in decisions if d.expert != "maths"} == {"explored"}


def test_a_conversation_keeps_its_expert_within_the_margin(router, arms):
    bound = router.bind(arms)
    talking = Request(SUM, previous="small")
    free = bound.decide(talking, seed=0)
    gain = max(free.objective) - free.objective[0]
    assert (free.expert, free.reason) == ("maths", "routed")
    kept = bound.decide(talking, seed=0, switch_margin=gain + 0.01, explore=1.0)
    assert (kept.expert, kept.reason, kept.propensity) == ("small", "kept", 1.0)
    assert bound.decide(talking, seed=0, switch_margin=gain - 0.01).expert == "maths"
    gone = bound.decide(replace(talking, previous="gone"), seed=0, switch_margin=1.0)
    assert (gone.expert, gone.reason) == ("maths", "routed")


def test_absent_experts_are_masked_and_order_follows_the_pool(router, arms):
    decision = router.bind([arms[2], arms[0]]).decide(Request(SUM), seed=0)
    full = router.bind(arms).decide(Request(SUM), seed=0)
    assert decision.experts == ("words", "small")
    assert decision.quality == (full.quality[2], full.quality[0])
    assert decision.cost == (full.cost[2], full.cost[0])
    assert decision.expert == "small"


def test_newcomers_rank_last_and_can_be_explored(router, arms):
    bound = router.bind([*arms, Arm("fresh", price=Price(9.0, 9.0))])
    decision = bound.decide(Request(SUM), seed=0)
    assert decision.plan.fallbacks[-1] == "fresh"
    assert decision.quality[3] == pytest.approx(np.mean(decision.quality[:3]))
    assert decision.se[3] == 0.5
    assert decision.cost[3] > decision.cost[1]
    explored = {bound.decide(Request(SUM), seed=seed, explore=1.0).expert for seed in range(100)}
    assert explored == {"small", "maths", "words", "fresh"}


def test_an_unfitted_pool_takes_the_default_else_the_dearest(router):
    pool = [Arm("x", price=Price(1.0)), Arm("y", price=Price(5.0)), Arm("z", price=Price(0.5))]
    dearest = router.bind(pool).decide(Request(SUM), seed=0)
    assert (dearest.expert, dearest.reason, dearest.plan.fallbacks) == ("y", "unfitted", ("x", "z"))
    assert dearest.estimate("quality") is None
    assert dearest.signals
    assert router.bind(pool, default="z").decide(Request(SUM), seed=0).expert == "z"
    without = router.bind(pool, default="z").decide(Request(SUM, deny=frozenset({"z"})), seed=0)
    assert without.expert == "y"


def test_pools_that_make_no_sense(router, arms):
    with pytest.raises(ConfigError, match="did you mean 'maths'"):
        router.bind(arms, default="math")
    with pytest.raises(ConfigError, match="no experts"):
        router.bind([])
    with pytest.raises(ConfigError, match="unique"):
        router.bind([arms[0], arms[0]])


def test_the_pools_price_overrides_the_routers(router, arms):
    dear = router.bind([replace(arms[0], price=Price(100.0, 100.0)), *arms[1:]]).decide(Request(SUM), seed=0)
    plain = router.bind([replace(arms[0], price=Price()), *arms[1:]]).decide(Request(SUM), seed=0)
    usual = router.bind(arms).decide(Request(SUM), seed=0)
    assert dear.cost[0] > 100 * usual.cost[0]
    assert plain.cost == usual.cost


def test_an_abstaining_router_follows_its_ranking(make_log, make_router, arms):
    router = make_router(make_log(gain=0.0))
    bound = router.bind([*arms, Arm("fresh")])
    order = [e for _, e in sorted(zip(router.guard.ranking, router.experts, strict=True), reverse=True)]
    decision = bound.decide(Request(SUM), seed=0)
    assert [decision.expert, *decision.plan.fallbacks] == [*order, "fresh"]
    assert decision.reason == "abstained"
    second = bound.decide(Request(SUM, deny=frozenset({order[0]})), seed=0)
    assert second.expert == order[1]


def test_a_signal_of_another_width_is_refused(make_log):
    full = make_log(60)
    stored = np.random.default_rng(0).normal(size=(60, 7))
    log = OutcomeLog.from_arrays(None, full.experts, full.matrix(), signals={"format": stored})
    with pytest.raises(StateError, match="the router was fitted on 7"):
        Router.fit(log).bind([Arm("small")])


def test_threads_agree(router, arms):
    bound = router.bind(arms)
    texts = [SUM, WORDS] * 50
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: bound.decide(Request(text), seed=1).expert, texts))
    assert found == ["maths", "words"] * 50


def test_many_arms_are_ranked_as_few_are(monkeypatch):
    from turnout.routers import bound

    random = np.random.default_rng(0)
    objective, cost = random.integers(0, 30, 200) / 10, random.integers(0, 5, 200) / 10
    eligible = sorted(random.permutation(200)[:150].tolist())
    many = bound._ranked(eligible, tuple(objective), tuple(cost))
    monkeypatch.setattr(bound, "_MANY", 1000)
    assert many == bound._ranked(eligible, tuple(objective), tuple(cost))
    assert many == sorted(eligible, key=lambda i: (-objective[i], cost[i], i))
