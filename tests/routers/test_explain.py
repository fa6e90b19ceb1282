"""Explanations: the arithmetic adds up, flips really flip, neighbours are near."""

from __future__ import annotations

from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from turnout import registry
from turnout.errors import StateError
from turnout.routers.explain import _Case, flips
from turnout.types import Price, Request

SUM, WORDS = "7231 + 8812 + 9912 + 1231 + 5512 =", "Tell me about bakeli monupra stotrivel and wixyonzed?"


def test_it_says_what_the_decision_does(router):
    explained = router.explain(SUM)
    decision = router.bind(router.arms).decide(Request(SUM), seed=0)
    assert explained["expert"] == decision.expert
    for row, quality, se, cost in zip(explained["experts"], decision.quality, decision.se, decision.cost, strict=True):
        assert row["quality"] == pytest.approx(quality)
        assert row["cost"] == pytest.approx(cost)
        assert row["low"] == pytest.approx(max(quality - 1.96 * se, 0))
        assert row["low"] <= row["quality"] <= row["high"]


def test_neighbours_are_of_the_same_kind(router):
    for text, mark in [(SUM, "+"), (WORDS, "Tell me")]:
        found = router.explain(text, neighbours=4)["neighbours"]
        assert len(found) == 4
        assert all(mark in row["text"] for row in found)
        assert [row["similarity"] for row in found] == sorted((row["similarity"] for row in found), reverse=True)
        assert set(found[0]["scores"]) == {"small", "maths", "words"}


def test_text_is_kept_only_where_allowed(make_log, make_router, tmp_path):
    router = make_router(make_log(60), keep_text=False, examples=10)
    router.save(tmp_path / "r")
    assert "Tell me" not in (tmp_path / "r" / "router.json").read_text()
    found = router.explain(SUM)["neighbours"]
    assert {row["text"] for row in found} == {""}
    assert found[0]["query_id"].startswith("q")
    assert make_router(make_log(60), examples=0).explain(SUM)["neighbours"] == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 500))
def test_flips_flip(make_router_cached, seed, lam):
    rng = np.random.default_rng(seed)
    router = make_router_cached.copy()
    router.policy = registry.create("policy", "utility", lam=lam)
    for expert in router.experts:
        router.reprice(expert, Price(*rng.exponential(3.0, 2)))
    explained = router.explain(SUM)
    choice = explained["policy_choice"]
    for flip in explained["flips"]:
        assert flip["expert"] != choice
        for beyond in (False, True):
            changed = router.copy()
            if flip["change"] == "lambda":
                step = (flip["to"] - flip["from"]) * (1e-6 if beyond else -1e-6) + (
                    1e-9 if flip["to"] >= lam else -1e-9
                ) * beyond
                changed.policy = registry.create("policy", "utility", lam=max(flip["to"] + step, 0.0))
            else:
                price = router.costs.prices[router.experts.index(flip["of"])]
                factor = flip["factor"] ** (1.0001 if beyond else 0.99)
                changed.reprice(flip["of"], Price(price.input * factor, price.output * factor))
            chosen = changed.explain(SUM)["policy_choice"]
            assert (chosen == flip["expert"]) if beyond else (chosen == choice), (flip, beyond)


@pytest.fixture(scope="module")
def make_router_cached(make_router):
    return make_router()


@pytest.mark.parametrize("name", registry.names("policy"))
def test_every_policy_is_explained(make_router, name):
    explained = make_router(policy=registry.create("policy", name)).explain(SUM)
    assert all(row["arithmetic"] for row in explained["experts"])
    objectives = {row["expert"]: row["objective"] for row in explained["experts"]}
    assert objectives[explained["policy_choice"]] == max(objectives.values())


def test_a_signal_of_another_width_is_refused(router):
    narrow = router.copy()
    narrow.widths = {name: width - 1 for name, width in narrow.widths.items()}
    with pytest.raises(StateError, match="the router was fitted on"):
        narrow.explain("2 + 2 =")


def test_an_abstaining_router_says_so(make_log, make_router):
    explained = make_router(make_log(gain=0.0)).explain(SUM)
    assert explained["reason"] == "abstained"
    assert "abstains" in explained["guard"]


def test_texts_without_meaning_are_explained(router):
    for text in ["", "\ud800", "\x00" * 50]:
        assert router.explain(text)["expert"] in router.experts


def test_no_flip_lies_below_zero():
    policy = registry.create("policy", "utility", lam=10.0)
    case = _Case(policy, np.array([0.7, 0.7, 0.2]), np.array([0.001, 0.002, 0.0001]), np.ones(3, dtype=bool))
    router = SimpleNamespace(experts=("cheap", "dear", "poor"))
    found = [flip for flip in flips(router, case) if flip["change"] == "lambda"]
    assert [(flip["expert"], flip["to"]) for flip in found] == [("poor", pytest.approx(0.5 / 0.0009))]


def test_only_experts_that_may_serve_are_in_the_choice_and_its_flips(router):
    for text in (SUM, WORDS):
        explained = router.explain(text, among=("small", "words"))
        named = {explained["expert"], explained["policy_choice"], *(flip["expert"] for flip in explained["flips"])}
        assert named <= {"small", "words"}
        assert all(flip.get("of") != "maths" for flip in explained["flips"])


def test_a_text_beyond_an_experts_context_is_explained_as_it_is_decided(router):
    text = "7231 + " * 2000
    assert router.explain(SUM)["expert"] == "maths"
    assert router.explain(text)["expert"] == router.decide([Request(text)])[0].expert != "maths"
