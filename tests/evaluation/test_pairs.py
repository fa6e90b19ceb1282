"""RouteLLM's figures with paired intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from turnout.evaluation import datasets
from turnout.evaluation.baselines import lengths
from turnout.evaluation.metrics import routing_curve
from turnout.evaluation.pairs import pair_figures, pair_of
from turnout.evaluation.tables import Table


def table(n: int = 600, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    weak_N = (rng.random(n) < 0.6) * 1.0
    strong_N = np.maximum(weak_N, (rng.random(n) < 0.5) * 1.0)
    texts = ["x" * int(rng.integers(5, 500)) for _ in range(n)]
    return Table(("weak", "strong"), texts, np.arange(n), np.stack([weak_N, strong_N], axis=1))


def test_the_better_of_two_is_strong_and_of_more_the_cheapest_is_weak() -> None:
    assert pair_of(table()) == (0, 1)
    scores = np.array([[0.5, 0.2, 0.9]])
    assert pair_of(Table(("a", "b", "c"), [""], np.arange(1), scores, np.array([[1.0, 2.0, 9.0]]))) == (0, 2)
    assert pair_of(Table(("a", "b", "c"), [""], np.arange(1), scores)) == (1, 2)


def test_perfect_wishes_gain_over_length_and_random_ones_do_not() -> None:
    made = table()
    perfect_N = made.value_NE[:, 1] - made.value_NE[:, 0]
    noise_N = np.random.default_rng(5).random(len(made))
    pair = pair_figures(made, {"perfect": [perfect_N], "noise": [noise_N]})
    assert pair is not None
    perfect, noise, length = pair.rows
    assert (perfect.name, noise.name, length.name) == ("perfect", "noise", "prompt length")
    assert perfect.gain is not None
    assert perfect.gain.low > 0.1
    assert perfect.cpt50 < 0.25 < noise.cpt50
    assert noise.gain is not None
    assert noise.gain.low < 0 < noise.gain.high
    assert noise.apgr.low < 0.5 < noise.apgr.high
    assert length.gain is None


def test_the_mean_is_that_of_the_plain_curve() -> None:
    made = table()
    wish_N = np.random.default_rng(1).random(len(made))
    pair = pair_figures(made, {"it": [wish_N]})
    assert pair is not None
    curve = routing_curve(wish_N, made.value_NE[:, 0], made.value_NE[:, 1])
    assert pair.rows[0].apgr.mean == pytest.approx(curve.apgr)
    assert pair.rows[0].cpt80 == pytest.approx(curve.cpt(0.8))
    assert pair.rows[0].apgr.low < curve.apgr < pair.rows[0].apgr.high


def test_only_tested_rows_count() -> None:
    made = table()
    wish_N = made.value_NE[:, 1] - made.value_NE[:, 0]
    wish_N[300:] = np.random.default_rng(0).random(300)
    half = pair_figures(made, {"it": [wish_N]}, [np.arange(300)])
    assert half is not None
    curve = routing_curve(wish_N[:300], made.value_NE[:300, 0], made.value_NE[:300, 1])
    assert half.rows[0].apgr.mean == pytest.approx(curve.apgr)


def test_experts_that_do_not_differ_make_no_pair() -> None:
    assert pair_figures(Table(("a", "b"), ["x"] * 4, np.arange(4), np.ones((4, 2))), {"it": [np.arange(4.0)]}) is None


def test_prompt_length_on_mmlu_is_as_published_elsewhere(shared_data: Path) -> None:
    """The project's notes give .583 for prompt length alone; a part of the rows is here."""
    log = datasets.load("routellm_mmlu", shared_data)
    made = Table(log.experts, log.texts, np.arange(len(log)), log.matrix())
    weak, strong = pair_of(made)
    curve = routing_curve(lengths(made), made.value_NE[:, weak], made.value_NE[:, strong])
    assert curve.apgr == pytest.approx(0.583, abs=0.015)
    assert (curve.weak, curve.strong) == (pytest.approx(0.681, abs=0.01), pytest.approx(0.806, abs=0.01))
