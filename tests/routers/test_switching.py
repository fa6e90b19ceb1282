"""The price of a switch enters the decision; what signals read of a conversation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout import registry
from turnout.routers.conversation import READ, conversation_text
from turnout.routers.switching import Switching
from turnout.types import Request

SUM, WORDS = "7231 + 8812 + 9912 + 1231 + 5512 =", "Tell me about bakeli monupra stotrivel and wixyonzed?"


@pytest.fixture(scope="module")
def priced(make_router):
    return make_router(policy=registry.create("policy", "utility", lam=100.0), guard=False)


def test_a_warm_cache_keeps_a_conversation_and_a_cold_one_does_not(priced):
    bound = priced.bind(priced.arms)
    cold = Request(SUM, bytes=len(SUM), previous="words")
    assert bound.decide(cold, seed=0).expert == "maths"
    warm = bound.decide(replace(cold, cached_tokens=20_000), seed=0)
    assert (warm.expert, warm.reason) == ("words", "kept")


def test_a_warm_cache_does_not_hold_an_expert_below_the_floor(make_router):
    router = make_router(policy=registry.create("policy", "floor", quality=0.6), guard=False)
    router.guard = replace(router.guard, lam=1000.0)
    bound = router.bind(router.arms)
    request = Request(SUM, bytes=len(SUM), previous="words", cached_tokens=20_000)
    decision = bound.decide(request, seed=0, switch_margin=0.05)
    assert decision.quality[router.experts.index("words")] < 0.6
    assert decision.expert == "maths"


def test_a_tool_loop_is_not_broken_for_a_small_gain(priced):
    request = Request(SUM, previous="words", tool_loop=True)
    gain = bound_gain(priced)
    for loss, expert in ((gain * 0.9, "maths"), (gain * 1.1, "words")):
        bound = priced.bind(priced.arms, switching=Switching(tool_loop=loss))
        assert bound.decide(request, seed=0).expert == expert


def bound_gain(router):
    found = router.bind(router.arms).decide(Request(SUM), seed=0)
    return found.objective[router.experts.index("maths")] - found.objective[router.experts.index("words")]


@given(st.integers(0, 10**6), st.floats(0.0, 1.0), st.floats(0.0, 1e4), st.floats(0.0, 1e-4))
def test_the_price_grows_with_the_cache_and_never_pays_for_a_switch(tokens, share, lam, rate):
    switching = Switching(cached_share=share)
    price = switching.price(Request("", cached_tokens=tokens), lam, rate)
    assert 0 <= price <= lam * rate * tokens + 1e-9
    assert switching.price(Request("", cached_tokens=2 * tokens), lam, rate) >= price
    assert switching.price(Request("", cached_tokens=tokens, tool_loop=True), lam, rate) >= price


def test_a_turn_that_stands_alone_is_read_alone():
    long = "How do I sort a list of numbers in Python without the standard library?"
    for alone in (long, "Who wrote the Odyssey?"):
        assert conversation_text(["Something else entirely.", alone]) == alone
    assert conversation_text([]) == ""
    assert conversation_text(["And then?"]) == "And then?"


def test_a_short_turn_is_read_with_what_went_before_it():
    text = conversation_text(["first " * 300, "Tell me of rivers in Peru.", "And in Chile?"])
    assert text.endswith("Tell me of rivers in Peru.\n\nAnd in Chile?")
    assert len(text) < READ + 100


def test_turns_that_do_not_fit_leave_their_topics_and_tools_come_first():
    turns = ["volcano eruptions and volcano maps", "x" * READ, "More?"]
    text = conversation_text(turns, tools=("search", "python"))
    assert text.startswith("Tools: search, python\n\nvolcano eruptions")
    assert text.endswith("More?")
