"""The cost model: exact where the log decides, sensible where it does not, and linear in the price."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from turnout.errors import UnknownNameError
from turnout.prices import TYPICAL_ANSWER, CostModel, sizes
from turnout.types import Price, Request


def _log(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    size_N = rng.integers(5, 2000, n).astype(float)
    prompt_NE = np.stack([size_N, 12 + 1.2 * size_N], axis=1)
    answer_NE = np.exp(np.array([2.0, 4.0]) + np.array([0.1, 0.3]) * np.log1p(size_N)[:, None])
    return size_N, prompt_NE, answer_NE * rng.lognormal(0, 0.5, answer_NE.shape)


def test_sizes_agree_with_the_estimate_on_a_request():
    for text in ["", "abcd", "abc", "é" * 9, "x" * 1001]:
        assert sizes([text])[0] == Request(text, bytes=len(text.encode())).prompt_tokens


def test_predicted_totals_agree_with_the_logged_ones():
    size_N, prompt_NE, answer_NE = _log()
    prices = {"a": Price(1.0, 4.0), "b": Price(3.0, 15.0)}
    model = CostModel.fit(["a", "b"], size_N, prices=prices, prompt_NE=prompt_NE, completion_NE=answer_NE)
    logged_NE = np.stack(
        [prices[k].input * prompt_NE[:, e] + prices[k].output * answer_NE[:, e] for e, k in enumerate("ab")]
    )
    assert model.predict(size_N).mean(axis=0) == pytest.approx(logged_NE.mean(axis=1) / 1e6, rel=0.03)
    assert model.tokens(size_N)[0] == pytest.approx(prompt_NE, rel=1e-6)


def test_a_price_is_inferred_from_costs_and_tokens():
    size_N, prompt_NE, answer_NE = _log()
    cost_NE = (2.5 * prompt_NE + 10.0 * answer_NE) / 1e6
    model = CostModel.fit(["a", "b"], size_N, cost_NE=cost_NE, prompt_NE=prompt_NE, completion_NE=answer_NE)
    for price in model.prices:
        assert price is not None
        assert (price.input, price.output) == pytest.approx((2.5, 10.0), rel=1e-6)


def test_costs_alone_give_a_non_negative_line():
    size_N, _, _ = _log()
    cost_NE = np.stack([1e-4 + 2e-7 * size_N, 1e-3 - 1e-7 * size_N], axis=1)
    model = CostModel.fit(["a", "b"], size_N, cost_NE=cost_NE)
    assert model.prices == (None, None)
    assert model.line[0] == pytest.approx([1e-4, 2e-7])
    assert model.line[1, 1] == 0.0
    assert model.predict(size_N)[:, 1].mean() == pytest.approx(cost_NE[:, 1].mean())


def test_an_expert_without_price_or_cost_is_named():
    size_N, cost_NE = np.full(5, 100.0), np.tile([0.01, np.nan], (5, 1))
    assert CostModel.fit(["a", "b"], size_N, cost_NE=cost_NE).unpriced == ("b",)
    assert CostModel.fit(["a", "b"], size_N, cost_NE=cost_NE, prices={"b": Price(1.0)}).unpriced == ()
    assert CostModel.fit(["a", "b"], size_N).unpriced == ()


def test_answer_lengths_are_inferred_from_cost_and_price():
    size_N, prompt_NE, answer_NE = _log()
    price = Price(2.0, 8.0)
    cost_NE = (price.input * prompt_NE + price.output * answer_NE) / 1e6
    model = CostModel.fit(["a", "b"], size_N, cost_NE=cost_NE, prompt_NE=prompt_NE, prices={"a": price, "b": price})
    assert model.predict(size_N).mean(axis=0) == pytest.approx(cost_NE.mean(axis=0), rel=0.03)


def test_without_any_counts_an_answer_is_typical():
    model = CostModel.fit(["a"], np.array([100.0]), prices={"a": Price(1.0, 1.0)})
    assert model.predict(np.array([100.0]))[0, 0] == pytest.approx((100 + TYPICAL_ANSWER) / 1e6)
    assert CostModel.fit(["a"], np.array([100.0])).predict(np.array([7.0]))[0, 0] == 0.0


def test_an_expert_without_counts_takes_the_pools_line():
    size_N, prompt_NE, answer_NE = _log()
    answer_NE[:, 1] = np.nan
    model = CostModel.fit(["a", "b"], size_N, prompt_NE=prompt_NE, completion_NE=answer_NE)
    tokens_NE = model.tokens(size_N)[1]
    assert tokens_NE[:, 1].mean() == pytest.approx(tokens_NE[:, 0].mean(), rel=0.1)


def test_max_tokens_caps_the_answer():
    size_N, prompt_NE, answer_NE = _log()
    model = CostModel.fit(["a", "b"], size_N, prompt_NE=prompt_NE, completion_NE=answer_NE)
    assert (model.tokens(size_N, np.full(len(size_N), 3.0))[1] <= 3.0).all()


def test_repricing_changes_one_column_and_unknown_names_are_refused():
    size_N, _, _ = _log()
    model = CostModel.fit(["a", "b"], size_N, cost_NE=np.full((len(size_N), 2), 1e-4))
    repriced = model.reprice("b", Price(5.0))
    assert np.array_equal(repriced.predict(size_N)[:, 0], model.predict(size_N)[:, 0])
    assert repriced.predict(size_N)[:, 1] == pytest.approx(5.0 * size_N / 1e6)
    with pytest.raises(UnknownNameError, match="known: a, b"):
        model.reprice("c", Price())


def test_select_and_append_keep_the_others_bit_equal():
    size_N, prompt_NE, answer_NE = _log()
    model = CostModel.fit(["a", "b"], size_N, prompt_NE=prompt_NE, completion_NE=answer_NE, prices={"a": Price(1, 2)})
    again = model.select([1]).append(model.select([0]))
    assert again.experts == ("b", "a")
    assert np.array_equal(again.predict(size_N), model.predict(size_N)[:, ::-1])
    assert np.array_equal(CostModel.from_state(model.state()).predict(size_N), model.predict(size_N))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.integers(1, 30), st.booleans(), st.booleans())
@example(369263, 0.96875, 28, False, True)  # a line so steep that its exponential overflows at a long prompt
def test_costs_are_finite_and_non_negative_whatever_is_missing(seed, missing, n, with_cost, with_tokens):
    rng = np.random.default_rng(seed)
    size_N = rng.integers(0, 5000, n).astype(float)

    def holes(scale: float) -> np.ndarray:
        return np.where(rng.random((n, 3)) < missing, np.nan, rng.exponential(scale, (n, 3)))

    model = CostModel.fit(
        ["a", "b", "c"],
        size_N,
        prices={"a": Price(1.0, 2.0)},
        cost_NE=holes(1e-3) if with_cost else None,
        prompt_NE=holes(500.0) if with_tokens else None,
        completion_NE=holes(300.0) if with_tokens else None,
        weights_NE=rng.exponential(1.0, (n, 3)),
    )
    cost_NE = model.predict(np.array([0.0, 1.0, 1e3, 1e6]))
    assert np.isfinite(cost_NE).all()
    assert (cost_NE >= 0).all()
