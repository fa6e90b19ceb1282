"""A router fitted chunk by chunk is the one that is fitted whole."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ConfigError, LogError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.streaming import fit_by_chunks
from turnout.types import Arm


@pytest.fixture(scope="module")
def log(make_log):
    return make_log(300)


@pytest.fixture(scope="module")
def ridge():
    return registry.create("estimator", "ridge", on=("format", "length"))


def same(first: Router, second: Router, log: OutcomeLog) -> None:
    for one, other in zip(first.predict(log), second.predict(log), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)
    assert first.guard.words() == second.guard.words()
    assert first.summary["held_out"]["table"]["router"] == pytest.approx(second.summary["held_out"]["table"]["router"])
    assert first.estimator.penalty_ == second.estimator.penalty_
    assert (first.choose(log) == second.choose(log)).all()


@pytest.mark.parametrize("chunk", [37, 1000])
def test_by_chunks_or_whole_the_router_is_the_same(log, ridge, arms, chunk, make_log):
    policy = registry.create("policy", "utility", lam=5.0)
    whole = Router.fit(log, arms=arms, estimator=ridge, policy=policy, folds=3)
    parts = fit_by_chunks(log, arms=arms, estimator=ridge, policy=policy, folds=3, chunk=chunk)
    same(whole, parts, make_log(80, seed=4))


def test_it_saves_explains_and_takes_newcomers(log, ridge, tmp_path):
    router = fit_by_chunks(log, estimator=ridge, folds=2)
    router.save(tmp_path / "r")
    loaded = Router.load(tmp_path / "r")
    assert (loaded.predict(log)[0] == router.predict(log)[0]).all()
    assert loaded.explain(log.texts[0])["neighbours"]
    grown = loaded.add_expert(Arm("fresh"), OutcomeLog.from_arrays(log.texts, ["fresh"], log.matrix()[:, :1]))
    assert grown.experts[-1] == "fresh"


def test_on_ray_it_is_the_same(log, ridge, make_log):
    pytest.importorskip("ray")
    here, there = (fit_by_chunks(log, estimator=ridge, folds=2, chunk=64, engine=e) for e in ("chunks", "ray"))
    same(here, there, make_log(80, seed=4))


def test_what_cannot_be_summed_is_refused(log, ridge):
    for estimator in (registry.create("estimator", "knn"), registry.create("estimator", "ridge", on=("tfidf",))):
        with pytest.raises(ConfigError, match="by chunks only"):
            fit_by_chunks(log, estimator=estimator)
    with pytest.raises(ConfigError, match="'chunks' or 'ray'"):
        fit_by_chunks(log, estimator=ridge, engine="threads")
    scores = log.matrix()
    scores[0, 0] = np.nan
    with pytest.raises(LogError, match="full log"):
        fit_by_chunks(OutcomeLog.from_arrays(log.texts, log.experts, scores), estimator=ridge)
    with pytest.raises(LogError, match="prompt"):
        fit_by_chunks(OutcomeLog.from_arrays(None, log.experts, log.matrix()), estimator=ridge)
    half = np.full(scores.shape, 0.5)
    with pytest.raises(LogError, match="propensities"):
        fit_by_chunks(OutcomeLog.from_arrays(log.texts, log.experts, log.matrix(), propensity_NE=half), estimator=ridge)
