"""What signals tell about cost beside a prompt's size, and how it follows experts that come and go."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.departures import FEWEST, SAMPLE, Departures, sample
from turnout.features import Sparse
from turnout.prices import CostModel
from turnout.types import Price


def _world(rows: int = 600, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Two kinds of queries that one column tells apart; answers to the second are 4 and 9 times as long."""
    rng = np.random.default_rng(seed)
    kind_N = rng.integers(0, 2, rows)
    features = {
        "x": np.column_stack([kind_N, rng.normal(size=rows)]).astype(np.float32),
        "y": rng.normal(size=(rows, 3)),
    }
    answers_NE = 50.0 * np.array([4.0, 9.0]) ** kind_N[:, None] * rng.lognormal(0, 0.2, (rows, 2))
    return features, np.full(rows, 100.0), answers_NE


def _error(said_NE: np.ndarray, true_NE: np.ndarray) -> float:
    return float(np.abs(said_NE - true_NE).sum() / true_NE.sum())


@pytest.mark.parametrize("told", ["tokens", "costs"])
def test_signals_tell_long_answers_from_short_ones(told: str) -> None:
    features, size_N, answers_NE = _world()
    prices = {"a": Price(1.0, 4.0), "b": Price(3.0, 15.0)}
    cost_NE = (np.array([1.0, 3.0]) * size_N[:, None] + np.array([4.0, 15.0]) * answers_NE) / 1e6
    if told == "tokens":
        seen = {"completion_NE": answers_NE, "prompt_NE": np.repeat(size_N[:, None], 2, axis=1)}
        model = CostModel.fit(["a", "b"], size_N, prices=prices, **seen)
    else:
        seen = {"cost_NE": cost_NE}
        model = CostModel.fit(["a", "b"], size_N, **seen)
    model = model.informed(features, size_N, **seen)
    assert model.departures.on == ("x", "y")
    assert model.predict(size_N, features=features).mean(axis=0) == pytest.approx(cost_NE.mean(axis=0), rel=0.03)
    other, other_size_N, other_answers_NE = _world(seed=1)
    true_NE = (np.array([1.0, 3.0]) * other_size_N[:, None] + np.array([4.0, 15.0]) * other_answers_NE) / 1e6
    by_size, by_signals = model.predict(other_size_N), model.predict(other_size_N, features=other)
    assert _error(by_signals, true_NE) < 0.3 * _error(by_size, true_NE)


def test_noise_teaches_nothing() -> None:
    rng = np.random.default_rng(0)
    found = Departures.learn({"x": rng.normal(size=(500, 40))}, rng.lognormal(0, 0.5, (500, 3)), np.ones((500, 3)))
    assert found.factors({"x": rng.normal(size=(200, 40))}) == pytest.approx(1.0, abs=0.15)


def test_an_expert_with_few_answers_departs_as_the_pool_does() -> None:
    features, size_N, answers_NE = _world()
    rare_NE = np.column_stack([answers_NE, np.where(np.arange(len(size_N)) < FEWEST - 1, 70.0, np.nan)])
    found = Departures.learn(features, rare_NE, np.full(rare_NE.shape, 100.0))
    weights_DE = found.weights_DF
    assert np.array_equal(weights_DE[:, 2], weights_DE[:, 3])
    assert not np.allclose(weights_DE[:, 0], weights_DE[:, 3])


def test_what_cannot_be_learned_leaves_costs_alone() -> None:
    features, size_N, answers_NE = _world(FEWEST - 1)
    words = Sparse(np.zeros(601, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), 5)
    for few in (
        Departures.learn(features, answers_NE, answers_NE),
        Departures.learn({"words": words}, np.ones((600, 2)), np.ones((600, 2))),
        Departures.learn({"": np.zeros((600, 0))}, np.ones((600, 2)), np.ones((600, 2))),
        Departures.learn(_world()[0], np.full((600, 2), np.nan), np.ones((600, 2))),
        Departures.learn(_world()[0], np.zeros((600, 2)), np.ones((600, 2))),
    ):
        assert few.on == ()
    model = CostModel.fit(["a", "b"], size_N, prices={"a": Price(1.0, 4.0)}, completion_NE=answers_NE)
    assert np.array_equal(model.predict(size_N, features=features), model.predict(size_N))


def test_factors_stay_within_what_the_log_bore_out() -> None:
    features, _, answers_NE = _world()
    found = Departures.learn(features, answers_NE, np.full(answers_NE.shape, 100.0))
    far_NE = found.factors({"x": np.array([[1e6, 0.0], [-1e6, 0.0]]), "y": np.zeros((2, 3))})
    near_NE = found.factors(features)
    assert far_NE.max() <= near_NE.max() * 1.0001
    assert far_NE.min() >= near_NE.min() * 0.9999


def test_experts_come_and_go() -> None:
    features, size_N, answers_NE = _world()
    prices = {"a": Price(1.0, 4.0), "b": Price(3.0, 15.0)}
    model = CostModel.fit(["a", "b"], size_N, prices=prices, completion_NE=answers_NE)
    model = model.informed(features, size_N, completion_NE=answers_NE)
    cost_NE = model.predict(size_N, features=features)
    assert model.select([1]).predict(size_N, features=features) == pytest.approx(cost_NE[:, 1:], rel=1e-5)
    grown = model.append(model.typical(["new"], [Price(1.0, 1.0)]))
    grown_NE = grown.predict(size_N, features=features)
    assert grown_NE[:, :2] == pytest.approx(cost_NE, rel=1e-5)
    kind_N = features["x"][:, 0] > 0.5
    assert grown_NE[kind_N, 2].mean() > 2 * grown_NE[~kind_N, 2].mean()
    stranger = CostModel.fit(["c"], size_N, prices={"c": Price(1.0, 1.0)}, completion_NE=answers_NE[:, :1])
    joined = model.append(stranger).predict(size_N, features=features)
    assert joined[kind_N, 2].mean() > 2 * joined[~kind_N, 2].mean()
    again = CostModel.from_state(grown.state())
    assert np.array_equal(again.predict(size_N, features=features), grown_NE)
    older = {key: value for key, value in grown.state().items() if key != "departures"}
    assert np.array_equal(CostModel.from_state(older).predict(size_N, features=features), grown.predict(size_N))


def test_a_large_log_is_sampled() -> None:
    assert sample(10).tolist() == list(range(10))
    taken = sample(3 * SAMPLE)
    assert len(taken) == len(set(taken.tolist())) == SAMPLE
    assert (np.diff(taken) > 0).all()
