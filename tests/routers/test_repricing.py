"""Another price changes decisions in the right direction, and nothing else, without a refit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout import registry
from turnout.types import Price, Request

FACTORS = st.floats(1.01, 1e4)
EXPERTS = st.sampled_from(["small", "maths", "words"])
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def priced(make_router):
    return make_router(policy=registry.create("policy", "utility", lam=200.0), guard=False)


@pytest.fixture(scope="module")
def texts(make_log):
    return make_log(80, seed=9).texts


def scaled(router, expert, factor):
    price = router.arms[router.experts.index(expert)].price
    return router.copy().reprice(expert, Price(price.input * factor, price.output * factor))


@SETTINGS
@given(expert=EXPERTS, factor=FACTORS)
def test_a_dearer_expert_only_loses_requests_and_a_cheaper_one_only_wins_them(priced, texts, expert, factor):
    column = priced.experts.index(expert)
    before_N, dearer_N, cheaper_N = (
        router.choose(texts) for router in (priced, scaled(priced, expert, factor), scaled(priced, expert, 1 / factor))
    )
    assert set(np.flatnonzero(dearer_N == column)) <= set(np.flatnonzero(before_N == column))
    assert set(np.flatnonzero(before_N == column)) <= set(np.flatnonzero(cheaper_N == column))
    kept_N = (before_N != column) & (dearer_N != column)
    assert (before_N[kept_N] == dearer_N[kept_N]).all()  # between the others nothing moved


@SETTINGS
@given(expert=EXPERTS, factor=FACTORS)
def test_only_the_cost_of_that_expert_moves(priced, texts, expert, factor):
    column = priced.experts.index(expert)
    old, new = priced.predict(texts), scaled(priced, expert, factor).predict(texts)
    assert np.array_equal(old[0], new[0])
    assert np.array_equal(old[1], new[1])
    assert np.array_equal(np.delete(old[2], column, 1), np.delete(new[2], column, 1))
    assert (new[2][:, column] > old[2][:, column]).all()


@SETTINGS
@given(expert=EXPERTS, factor=FACTORS)
def test_a_live_pool_reprices_as_the_router_does(priced, texts, expert, factor):
    moved = scaled(priced, expert, factor)
    live = priced.bind(moved.arms)
    requests = [Request(text) for text in texts[:20]]
    assert [d.expert for d in live.decide_many(requests)] == [d.expert for d in moved.decide(requests)]


def test_enough_of_a_price_takes_every_request(priced, texts):
    sent = {e: (priced.choose(texts) == priced.experts.index(e)).sum() for e in priced.experts}
    busy = max(sent, key=sent.__getitem__)
    assert sent[busy] > 0
    assert (scaled(priced, busy, 1e6).choose(texts) != priced.experts.index(busy)).all()
