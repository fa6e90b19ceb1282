"""Experts come, go and change their price; the others' estimates stay."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ConfigError, LogError, UnknownNameError
from turnout.evaluation.offpolicy import evaluate_offline
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.types import Arm, Price, Request

SUM, WORDS = "7231 + 8812 + 9912 + 1231 + 5512 =", "Tell me about bakeli monupra stotrivel and wixyonzed?"


@pytest.fixture
def newcomer(make_log):
    log = make_log(300, seed=5)
    scores_N1 = np.array([[0.98 if "+" in text else 0.02] for text in log.texts])
    return OutcomeLog.from_arrays(log.texts, ["fresh"], scores_N1, cost_NE=np.full((300, 1), 1e-5))


def test_a_newcomer_is_learned_and_the_others_stay(router, newcomer, make_log, tmp_path):
    grown, log = router.copy(), make_log(50, seed=3)
    before = grown.bind(grown.arms)
    grown.add_expert(Arm("fresh"), newcomer)
    assert grown.experts == ("small", "maths", "words", "fresh")
    for old, new in zip(router.predict(log), grown.predict(log), strict=True):
        assert new[:, :3] == pytest.approx(old, abs=1e-6)  # a product of another width may round otherwise
    assert [d.expert for d in grown.decide([Request(SUM), Request(WORDS)])] == ["fresh", "words"]
    assert before.decide(Request(SUM), seed=0).expert == "maths"
    grown.save(tmp_path / "r")
    assert all(
        np.array_equal(a, b) for a, b in zip(Router.load(tmp_path / "r").predict(log), grown.predict(log), strict=True)
    )


def test_an_expert_leaves(router, make_log):
    log = make_log(50, seed=3)
    less = router.copy().remove_expert("maths")
    assert less.experts == ("small", "words")
    for old, new in zip(router.predict(log), less.predict(log), strict=True):
        assert new == pytest.approx(old[:, [0, 2]], abs=1e-6)
    assert less.decide([Request(SUM)])[0].expert == "small"
    with pytest.raises(ConfigError, match="only expert"):
        less.remove_expert("small").remove_expert("words")


def test_adding_what_is_there_or_unknown_is_refused(router, newcomer):
    with pytest.raises(ConfigError, match="already has"):
        router.copy().add_expert(Arm("maths"), newcomer)
    with pytest.raises(LogError, match="not in the log"):
        router.copy().add_expert(Arm("other"), newcomer)
    with pytest.raises(UnknownNameError, match="did you mean 'maths'"):
        router.copy().remove_expert("math")


def test_repricing_changes_decisions_without_a_refit(make_router):
    router = make_router(policy=registry.create("policy", "utility", lam=100.0))
    assert router.decide([Request(SUM)])[0].expert == "maths"
    quality_NE, se_NE, cost_NE = router.predict([SUM, WORDS])
    router.reprice("maths", Price(500.0, 500.0))
    assert router.decide([Request(SUM)])[0].expert == "small"
    after = router.predict([SUM, WORDS])
    assert np.array_equal(after[0], quality_NE)
    assert np.array_equal(after[1], se_NE)
    assert np.array_equal(after[2][:, [0, 2]], cost_NE[:, [0, 2]])
    with pytest.raises(UnknownNameError):
        router.reprice("math", Price())


def test_a_share_policy_keeps_its_strong_expert_when_another_leaves(make_router):
    router = make_router(policy=registry.create("policy", "share", strong=2))
    router.remove_expert("small")
    assert router.decide([Request(WORDS)])[0].expert == "words"
    with pytest.raises(ConfigError, match="strong expert"):
        router.remove_expert("words")


def test_an_abstaining_router_says_who_serves_since_experts_came_or_went(make_log, make_router, tmp_path):
    log = make_log(gain=0.0)
    router = make_router(log)
    first = router.guard.baseline
    assert router.guard.serves == first
    router.remove_expert(first)
    router.save(tmp_path / "r")
    for one in (router, Router.load(tmp_path / "r")):
        assert one.guard.serves == one.decide([Request(WORDS)])[0].expert != first
        assert one.guard.words().endswith(f"goes to {one.guard.serves}")
    router.add_expert(Arm("star"), OutcomeLog.from_arrays(log.texts, ["star"], np.ones((len(log), 1))))
    assert router.guard.serves == router.decide([Request(WORDS)])[0].expert == "star"
    assert evaluate_offline(router, make_log(50, seed=3)).single == "maths"


def test_an_abstaining_router_ranks_a_newcomer_by_its_mean(make_log, make_router, newcomer):
    router = make_router(make_log(gain=0.0)).add_expert(Arm("fresh"), newcomer)
    assert router.guard.abstains
    assert router.guard.ranking[-1] == pytest.approx(0.5, abs=0.01)


def test_an_abstaining_router_ranks_a_newcomer_by_its_policy_and_few_outcomes_last(make_log, make_router):
    log = make_log(gain=0.0)
    poor = OutcomeLog.from_arrays(log.texts, ["poor"], np.full((len(log), 1), 0.1))
    router = make_router(log, policy=registry.create("policy", "floor", quality=0.99))
    assert router.guard.abstains
    served = router.choose(log.texts)
    router.add_expert(Arm("poor"), poor)
    assert router.choose(log.texts).tolist() == served.tolist()
    router = make_router(log)
    lucky = OutcomeLog.from_arrays(log.texts[:3], ["lucky"], np.ones((3, 1)))
    router.add_expert(Arm("lucky"), lucky)
    assert router.choose(log.texts).tolist() == served.tolist()
    assert np.argmin(router.guard.ranking) == 3


def test_a_newcomer_of_few_outcomes_is_asked_with_caution(router, newcomer, make_log, tmp_path):
    few, texts = newcomer.select(np.arange(12)), make_log(60, seed=3).texts
    plain, careful = router.copy().add_expert(Arm("fresh"), few), router.copy().add_expert(Arm("fresh"), few, caution=2)
    for old, new in zip(plain.predict(texts), careful.predict(texts), strict=True):
        assert new[:, :3] == pytest.approx(old[:, :3], abs=1e-6)
    assert (careful.predict(texts)[0][:, 3] < plain.predict(texts)[0][:, 3]).all()
    careful.add_expert(Arm("later"), OutcomeLog.from_arrays(few.texts, ["later"], few.matrix()), caution=0.5)
    assert careful.estimator.caution_E_.tolist() == [0.0, 0.0, 0.0, 2.0, 0.5]
    careful.save(tmp_path / "r")
    assert np.array_equal(Router.load(tmp_path / "r").predict(texts)[0], careful.predict(texts)[0])
