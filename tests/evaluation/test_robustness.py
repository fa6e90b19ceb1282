"""Flip rates: what moves a router, and what smoothing does about it."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.errors import LogError
from turnout.evaluation.perturbations import PERTURBATIONS
from turnout.evaluation.robustness import ALL, Questions, difference, measure
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.smoothing import smoothed, smoothed_signals


@pytest.fixture(scope="module")
def log() -> OutcomeLog:
    """Shouted requests go to `loud`, plain ones to `calm`: a router that reads capitals must flip with them."""
    rng = np.random.default_rng(0)
    loud_N = np.arange(160) % 2
    words = ["river", "bread", "music", "stone", "cloud", "paper"]
    prompts = [" ".join(rng.choice(words, 8)) + f" {n}?" for n in range(160)]
    prompts = [prompt.upper() if loud else prompt for prompt, loud in zip(prompts, loud_N, strict=True)]
    chance_NE = np.stack([0.1 + 0.8 * loud_N, 0.9 - 0.8 * loud_N], axis=1)
    return OutcomeLog.from_arrays(prompts, ["loud", "calm"], (rng.random((160, 2)) < chance_NE) * 1.0)


@pytest.fixture(scope="module")
def router(log: OutcomeLog) -> Router:
    return Router.fit(log, estimator=registry.create("estimator", "ridge", on=("format",)), folds=2)


def test_a_router_that_reads_capitals_flips_with_them(log: OutcomeLog, router: Router) -> None:
    found = measure(router, Questions.of(log.texts, experts=log.experts, score_NE=log.matrix()))
    assert found.rate("lower case").mean > 0.9  # applies to the shouted half alone
    assert found.rate("white space").mean < 0.2
    row = next(row for row in found.flips if row.perturbation == "lower case")
    assert row.texts == 80
    assert row.quality is not None
    assert row.quality.high < -0.5
    assert found.accuracy is not None
    assert found.accuracy.mean > 0.8


def test_every_change_that_applies_has_a_row(log: OutcomeLog, router: Router) -> None:
    found = measure(router, Questions.of(log.texts[:40]))
    names = [row.perturbation for row in found.flips]
    assert names == [name for name in PERTURBATIONS if name != "option order"] + [ALL]
    assert all(row.quality is None for row in found.flips)
    rates = [row.rate.mean for row in found.flips[:-1]]
    assert min(rates) <= found.rate().mean <= max(rates)


def test_further_changes_are_measured_too(log: OutcomeLog, router: Router) -> None:
    same = {"paraphrase": [*log.texts[:10], *([None] * 150)]}
    found = measure(router, Questions.of(log.texts, further=same))
    assert found.rate("paraphrase") == (0.0, 0.0, 0.0)


def test_smoothing_lowers_the_flip_rate_without_a_refit(log: OutcomeLog, router: Router) -> None:
    questions = Questions.of(log.texts)
    plain, calmer = measure(router, questions), measure(smoothed(router, ("canonical",)), questions)
    assert calmer.rate("lower case").mean == 0.0
    assert difference(calmer, plain, questions).high < 0
    assert router.signals["format"].name == "format"  # the router itself is as it was


def test_a_smoothed_router_saves_and_decides_alike(log: OutcomeLog, tmp_path_factory: pytest.TempPathFactory) -> None:
    estimator = registry.create("estimator", "ridge", on=("format", "length"))
    fitted = Router.fit(log, estimator=estimator, signals=smoothed_signals(log, estimator), folds=2)
    folder = tmp_path_factory.mktemp("saved") / "router"
    fitted.save(folder)
    assert (Router.load(folder).predict(log.texts)[0] == fitted.predict(log.texts)[0]).all()
    assert fitted.bind(fitted.arms).decide_many([]) == []


def test_an_abstaining_router_is_measured_by_its_policy(log: OutcomeLog) -> None:
    noise = OutcomeLog.from_arrays(log.texts, log.experts, np.random.default_rng(1).random((160, 2)).round())
    router = Router.fit(noise, estimator=registry.create("estimator", "knn", k=3), folds=2)
    found = measure(router, Questions.of(log.texts))
    assert found.abstains
    assert found.rate().mean > 0


def test_no_text_is_refused() -> None:
    with pytest.raises(LogError, match="there are none"):
        Questions.of(["", " "])
