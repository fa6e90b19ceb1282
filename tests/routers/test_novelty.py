"""Queries of a new form go to the best single expert; hardly any query of the log's own kind does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout import registry
from turnout.errors import ConfigError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.novelty import Novelty
from turnout.types import Request

CODE = "def solve(xs):\n    return sorted(xs)[::-1]\n\n```\nassert solve([1]) == [1]\n```\n"


@pytest.fixture(scope="module")
def router(make_router: Callable[..., Router]) -> Router:
    return make_router(novelty=0.02)


def test_a_new_form_goes_to_the_best_single_expert(router: Router, make_router: Callable[..., Router]) -> None:
    assert router.guard.passed
    decision = router.decide([Request(CODE)])[0]
    assert (decision.expert, decision.reason) == (router.guard.baseline, "abstained")
    assert router.experts[router.choose([CODE])[0]] == router.guard.baseline
    assert make_router().decide([Request(CODE)])[0].reason == "routed"


def test_explanations_say_so(router: Router, make_log: Callable[..., OutcomeLog]) -> None:
    found = router.explain(CODE)
    assert (found["novel"], found["reason"], found["expert"]) == (True, "abstained", router.guard.baseline)
    assert f"less usual than 98% of the log's go to {router.guard.baseline}" in found["guard"]
    usual = next(t for t in make_log(50, seed=3).texts if router.decide([Request(t)])[0].reason == "routed")
    assert router.explain(usual)["novel"] is False


def test_queries_like_the_logged_ones_are_routed(router: Router, make_log: Callable[..., OutcomeLog]) -> None:
    fresh = make_log(1000, seed=8)
    reasons = [decision.reason for decision in router.decide([Request(text) for text in fresh.texts])]
    assert 0.0 < reasons.count("abstained") / 1000 < 0.05
    plain = Router.fit(make_log(), estimator=router.estimator.clone(), policy=router.policy, novelty=0.0)
    held_N = np.array(reasons) == "abstained"
    assert (router.choose(fresh)[~held_N] == plain.choose(fresh)[~held_N]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 400), st.sampled_from([0.01, 0.05, 0.2]), st.integers(0, 10**6))
def test_at_most_its_share_of_equals_is_novel(rows: int, share: float, seed: int) -> None:
    """A conformal test: over many logs, a query drawn like the logged ones is novel with at most this chance."""
    rng = np.random.default_rng(seed)
    novel = [
        Novelty.learn({"format": x_ND[1:]}, share).abstains({"format": x_ND[:1]})[0]  # type: ignore[union-attr]
        for x_ND in rng.standard_t(4, (300, rows + 1, 4))
    ]
    assert np.mean(novel) <= share + 4 * np.sqrt(share * (1 - share) / 300)


def test_the_distance_is_measured_from_the_other_queries() -> None:
    x_ND = np.random.default_rng(0).normal(0.0, [1.0, 0.1, 0.0], (30, 3))
    novelty = Novelty.learn({"format": x_ND}, 0.05)
    assert novelty is not None
    away_ND = x_ND - x_ND.mean(axis=0)
    far = []
    for n in range(30):
        others_ND = np.delete(away_ND, n, axis=0)
        variance_DD = others_ND.T @ others_ND / 30 + 0.03**2 * np.eye(3)
        far.append(away_ND[n] @ np.linalg.solve(variance_DD, away_ND[n]))
    assert novelty.limit == pytest.approx(max(far))


def test_a_column_that_never_varied_makes_a_query_novel() -> None:
    novelty = Novelty.learn({"format": np.ones((100, 2))}, 0.02)
    assert novelty is not None
    assert novelty.abstains({"format": np.array([[1.0, 1.0], [1.0, 0.5]])}).tolist() == [False, True]


def test_few_queries_make_nothing_novel() -> None:
    novelty = Novelty.learn({"format": np.eye(3)}, 0.02)
    assert novelty is not None
    assert not novelty.abstains({"format": np.full((1, 3), 1e6)})[0]
    assert Novelty.from_state(novelty.state()) == novelty


def test_it_is_off_with_a_share_of_zero_and_for_estimators_that_do_not_read_the_form(
    make_log: Callable[..., OutcomeLog],
) -> None:
    assert Novelty.learn({"format": np.ones((100, 2))}, 0.0) is None
    knn = Router.fit(make_log(), estimator=registry.create("estimator", "knn", k=5))
    assert knn.guard.novelty is None


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="novelty must be 0"):
        Novelty.learn({"format": np.ones((100, 2))}, share)


def test_it_is_saved_and_loaded(router: Router, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("saved") / "router"
    router.save(folder)
    assert Router.load(folder).guard == router.guard


def test_the_guards_figures_hold_novel_queries_back(make_router: Callable[..., Router]) -> None:
    """With half of the log counted as novel, its choices there are the baseline's, and the gain shrinks."""
    assert make_router(novelty=0.5).guard.gain < 0.8 * make_router().guard.gain
