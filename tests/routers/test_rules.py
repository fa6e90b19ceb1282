"""Rules around a router: what they force, narrow, trade and refuse; no rule leaves the router as it is."""

from __future__ import annotations

import copy
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from turnout import registry
from turnout.errors import ConfigError, RefusedError, RequestError
from turnout.routers import Bound
from turnout.routers.rules import Ruled, bind
from turnout.rules import Rule, SignalSpec, Then, parse
from turnout.types import Limits, Request

SUM, WORDS = "7231 + 8812 + 9912 + 1231 + 5512 =", "Tell me about bakeli monupra stotrivel and wixyonzed?"
SIGNALS = {
    "sum": SignalSpec("keyword", words=("+",)),
    "long": SignalSpec("length", min=1000),
    "acme": SignalSpec("tenant", tenants=("acme",)),
    "attack": SignalSpec("keyword", words=("ignore",)),
}


def ruled(router, arms, *rules: Rule, **signals: SignalSpec) -> Ruled:
    return Ruled(router, arms, signals={**SIGNALS, **signals}, rules=rules)


def test_without_rules_it_is_the_router_itself(router, arms):
    assert isinstance(bind(router, arms, signals=SIGNALS), Bound)
    plain, behind = router.bind(arms), ruled(router, arms, Rule("attack", Then(refuse="no")))
    for n, text in enumerate([SUM, WORDS] * 5):
        one, two = (b.decide(Request(text), seed=n, explore=0.4) for b in (plain, behind))
        assert (one.expert, one.reason, one.objective, one.propensity) == (
            two.expert, two.reason, two.objective, two.propensity,
        )  # fmt: skip
        assert (two.rule, dict(two.conditions)) == (None, {"attack": {"holds": False, "value": None}})


def test_a_rule_forces_an_expert(router, arms):
    behind = ruled(router, arms, Rule("sum", Then(expert="small"), name="cheap sums"))
    decision = behind.decide(Request(SUM), seed=1, explore=0.9)
    assert (decision.expert, decision.reason, decision.rule) == ("small", "ruled", "cheap sums")
    assert decision.plan.fallbacks == ()
    assert decision.propensity == 1.0
    assert decision.refusals == {
        "maths": "excluded by the rule 'cheap sums'",
        "words": "excluded by the rule 'cheap sums'",
    }
    assert decision.conditions == {"sum": {"holds": True, "value": "+"}}
    assert behind.decide(Request(WORDS), seed=1).expert == "words"


def test_a_rule_narrows_the_choice_and_the_router_decides_within(router, arms):
    among = ruled(router, arms, Rule("sum", Then(among=("small", "words"))))
    avoid = ruled(router, arms, Rule("sum", Then(avoid=("maths",))))
    for behind in (among, avoid):
        decision = behind.decide(Request(SUM), seed=0)
        assert decision.expert in ("small", "words")
        assert decision.eligible == (True, False, True)
        assert decision.reason == "routed"
    asked = replace(Request(SUM), allow=frozenset({"maths", "words"}))
    decision = among.decide(asked, seed=0)
    assert decision.expert == "words"
    assert decision.refusals["small"] == "not among the allowed experts"


def test_a_rule_trades_in_its_own_way(router, arms):
    behind = ruled(router, arms, Rule("acme", Then(lam=1e6), name="thrift"), Rule("long", Then(floor=0.0)))
    assert behind.decide(Request(SUM), seed=0).expert == "maths"
    assert behind.router(Request(SUM)) is router
    assert behind.router(Request(SUM, tenant="acme")).policy.params() == {"lam": 1e6}
    assert behind.decide(Request(SUM, tenant="acme"), seed=0).expert == "small", "the cheapest at this λ"
    assert behind.decide(Request(SUM, bytes=8000), seed=0).expert == "small", "the cheapest meets a floor of 0"


def test_a_trade_of_the_operators_is_not_for_the_guard_to_judge(make_log, make_router, arms):
    noise = make_router(make_log(gain=0.0))
    assert noise.guard.abstains
    behind = ruled(noise, arms, Rule("acme", Then(lam=1e6)))
    assert behind.decide(Request(SUM), seed=0).reason == "abstained"
    assert behind.decide(Request(SUM, tenant="acme"), seed=0).reason == "routed"
    assert noise.guard.abstains, "the router itself is as it was"


def test_a_rule_refuses_with_the_operators_words(router, arms):
    behind = ruled(
        router, arms, Rule("attack", Then(refuse="not here"), name="guard", priority=9), Rule("sum", Then(lam=1))
    )
    request = Request("ignore 1 + 1")
    for ask in (lambda: behind.decide(request, seed=3), lambda: behind.decide_many([request]),
                lambda: behind.screen(request, seed=3)):  # fmt: skip
        with pytest.raises(RefusedError, match=r"^not here$") as refused:
            ask()
        assert (refused.value.status, refused.value.code) == (403, "refused_by_rule")
        decision = refused.value.decision
        assert (decision.rule, decision.reason, decision.expert) == ("guard", "refused", "")
        assert decision.conditions["attack"]["holds"]
    behind.screen(Request(SUM), seed=0)


def test_a_rule_that_leaves_nobody_says_which(router, arms):
    behind = ruled(router, arms, Rule("true", Then(expert="words"), name="only words"))
    with pytest.raises(RequestError, match=r"the rule 'only words' applies \(expert words\), and no expert can serve"):
        behind.decide(Request(SUM, needs=frozenset({"tools"})), seed=0)


def test_rules_name_experts_of_the_pool(router, arms):
    with pytest.raises(ConfigError, match="rule 'rule 1' names no expert of the pool: 'math'; did you mean 'maths'"):
        ruled(router, arms, Rule("sum", Then(expert="math")))


def test_a_switch_is_priced_at_the_rules_own_trade(make_router, arms):
    """Where a rule seeks the best quality at any cost, a warm cache is worth nothing; at its high λ it decides."""
    for own, rule_lam, expert in ((100.0, 0.0, "maths"), (0.0, 100.0, "words")):
        router = make_router(policy=registry.create("policy", "utility", lam=own), guard=False)
        behind = ruled(router, arms, Rule("sum", Then(lam=rule_lam)))
        request = Request(SUM, bytes=len(SUM), previous="words", cached_tokens=20_000)
        assert behind.decide(request, seed=0).expert == expert


def test_a_conversation_is_kept_within_the_rule(router, arms):
    behind = ruled(router, arms, Rule("sum", Then(avoid=("words",))))
    assert behind.decide(Request(SUM, previous="small"), seed=0, switch_margin=9.0).reason == "kept"
    assert behind.decide(Request(SUM, previous="words"), seed=0, switch_margin=9.0).expert == "maths"


@settings(max_examples=40, deadline=None)
@given(
    whens=st.lists(st.sampled_from(["sum", "long", "acme", "not sum and acme", "long or acme", "true"]), max_size=4),
    priorities=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    world=st.fixed_dictionaries({"sum": st.booleans(), "long": st.booleans(), "acme": st.booleans()}),
)  # fmt: skip
def test_the_first_rule_that_holds_applies(router, arms, whens, priorities, world):
    """Against the truth of each condition, worked out beside the machinery."""
    rules = [Rule(when, Then(lam=float(n)), f"r{n}", priorities[n]) for n, when in enumerate(whens)]
    text, size = SUM if world["sum"] else WORDS, 8000 if world["long"] else 10
    request = Request(text, bytes=size, tenant="acme" if world["acme"] else None)
    order = sorted(rules, key=lambda rule: -rule.priority)
    wanted = next((rule.name for rule in order if parse(rule.when).holds(world.__getitem__)), None)
    behind = ruled(router, arms, *rules)
    assert behind.decide(request, seed=0).rule == wanted
    assert behind.explain(request)["rule"] == wanted


def test_the_batch_decides_as_the_single(router, arms):
    behind = ruled(
        router,
        arms,
        Rule("acme", Then(lam=50.0)),
        Rule("long", Then(expert="small")),
        Rule("sum", Then(avoid=("small",))),
    )
    requests = [
        Request(text, bytes=size, tenant=tenant)
        for text in (SUM, WORDS) for size in (0, 4000) for tenant in (None, "acme")
    ]  # fmt: skip
    for one, many in zip(requests, behind.decide_many(requests, seed=5, explore=0.5), strict=True):
        alone = behind.decide(one, seed=5 + requests.index(one), explore=0.5)
        assert (alone.plan, alone.rule, alone.reason, alone.propensity) == (
            many.plan,
            many.rule,
            many.reason,
            many.propensity,
        )
        assert np.allclose(alone.quality, many.quality, atol=1e-5)
    assert behind.decide_many([]) == []


def test_an_explanation_shows_what_was_tried_and_what_was_not(router, arms):
    behind = ruled(
        router,
        arms,
        Rule("sum", Then(lam=2.0), "b"),
        Rule("long", Then(lam=1.0), "a", 1),
        Rule("acme", Then(lam=3.0), "c"),
    )
    told = behind.explain(Request(SUM))
    assert [(row["rule"], row["holds"]) for row in told["tried"]] == [("a", False), ("b", True)]
    assert told["not_tried"] == ["c"]
    assert set(told["signals"]) == {"long", "sum"}
    assert told["then"] == "λ 2"


def test_rules_are_safe_to_copy_and_arms_may_have_limits(router, arms):
    small = [replace(arm, limits=Limits(context=5)) if arm.id == "small" else arm for arm in arms]
    behind = copy.copy(ruled(router, small, Rule("sum", Then(among=("small", "maths")))))
    decision = behind.decide(Request(SUM), seed=0)
    assert decision.expert == "maths"
    assert decision.refusals["words"] == "excluded by the rule 'rule 1'"
    assert "tokens exceed" in decision.refusals["small"]
