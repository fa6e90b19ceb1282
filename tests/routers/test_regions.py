"""The guard region by region: what passes, how often noise does, and that decisions keep to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout import registry
from turnout.errors import ConfigError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.regions import holm, sign_flip
from turnout.types import Request

OPENINGS = {"sums": "add these numbers {} and {}", "towns": "name a town by the river {} near {}"}


@pytest.fixture(scope="module")
def log() -> OutcomeLog:
    """`special` is better on sums alone; elsewhere both are equal, and `steady` is the best single expert."""
    rng = np.random.default_rng(0)
    sums_N = np.arange(400) % 3 == 0
    tasks = ["sums" if is_sum else "towns" for is_sum in sums_N]
    prompts = [OPENINGS[task].format(*rng.integers(0, 10**7, 2)) for task in tasks]
    chance_NE = np.stack([np.full(400, 0.6), np.where(sums_N, 0.95, 0.35)], axis=1)
    return OutcomeLog.from_arrays(prompts, ["steady", "special"], (rng.random((400, 2)) < chance_NE) * 1.0, tasks=tasks)


@pytest.fixture(scope="module")
def router(log: OutcomeLog) -> Router:
    return Router.fit(log, estimator=registry.create("estimator", "knn", k=5), regions="tasks")


def test_it_routes_where_a_gain_was_shown_and_abstains_elsewhere(log: OutcomeLog, router: Router) -> None:
    regions = router.guard.regions
    assert regions is not None
    assert dict(zip(regions.names, regions.passed_K.tolist(), strict=True)) == {"sums": True, "towns": False}
    choice_N = router.choose(log)
    towns_N = np.array([task == "towns" for task in log.tasks or ()])
    assert (choice_N[towns_N] == 0).all()
    assert (choice_N[~towns_N] == 1).mean() > 0.7
    assert "routes in 1 of 2 regions" in router.guard.words()
    assert "elsewhere steady is asked" in router.guard.words()


def test_decisions_and_explanations_keep_to_it(log: OutcomeLog, router: Router) -> None:
    requests = [Request(text) for text in log.texts[:40]]
    decisions = router.decide(requests)
    assert [d.expert for d in decisions] == [router.experts[e] for e in router.choose(log.texts[:40])]
    reasons = {(task, d.reason) for task, d in zip(log.tasks or (), decisions, strict=False)}
    assert reasons == {("sums", "routed"), ("towns", "abstained")}
    found = router.explain(next(text for text in log.texts if text.startswith("name")))
    assert (found["region"], found["reason"], found["expert"]) == ("towns", "abstained", "steady")


def test_it_is_saved_and_loaded(log: OutcomeLog, router: Router, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("saved") / "router"
    router.save(folder)
    loaded = Router.load(folder)
    assert loaded.guard.words() == router.guard.words()
    assert (loaded.choose(log) == router.choose(log)).all()


def test_an_unguarded_router_shows_regions_and_ignores_them(log: OutcomeLog) -> None:
    estimator = registry.create("estimator", "knn", k=5)
    router = Router.fit(log, estimator=estimator, regions=3, guard=False)
    plain = Router.fit(log, estimator=estimator, guard=False)
    assert router.guard.regions is not None
    assert len(router.guard.regions.names) == 3
    assert (router.choose(log) == plain.choose(log)).all()


def test_noise_passes_nowhere(log: OutcomeLog) -> None:
    noise = OutcomeLog.from_arrays(log.texts, log.experts, np.random.default_rng(3).random((400, 2)).round())
    router = Router.fit(noise, estimator=registry.create("estimator", "knn", k=5), regions=4)
    assert router.guard.abstains
    assert router.guard.words().startswith("abstains: no one of 4 regions")


@pytest.mark.parametrize("skewed", [False, True])
def test_the_family_wise_error_stays_within_its_level(skewed: bool) -> None:
    """Eight regions without any gain; equal experts, or a rare large gain against a frequent small loss."""
    rng, passed, runs = np.random.default_rng(0), 0, 300
    groups_N = np.arange(80)
    for run in range(runs):
        p_K = []
        for region in range(8):
            gain_N = np.where(rng.random(80) < 0.2, 0.8, -0.2) if skewed else rng.integers(-1, 2, 80)
            p_K.append(sign_flip(gain_N, groups_N, seed=run * 8 + region, draws=999))
        passed += bool(holm(p_K, 0.05).any())
    assert passed / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_near_duplicates_count_as_one_piece_of_evidence() -> None:
    gain_N = np.tile([1.0, 1.0, 1.0, 0.0, -1.0], 40)
    alone, grouped = (sign_flip(gain_N, group_N, seed=0) for group_N in (np.arange(200), np.arange(200) // 20))
    assert alone < 0.001
    assert grouped == 1.0  # ten groups are too few to be tested


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_rejects_the_smallest_and_never_more_than_without_correction(p: list[float]) -> None:
    passed_K = holm(p, 0.05)
    values_K = np.array(p)
    assert (values_K[passed_K] <= 0.05).all()
    assert passed_K[values_K <= 0.05 / len(p)].all()  # Bonferroni's rejections are among them
    if passed_K.any() and not passed_K.all():
        assert values_K[passed_K].max() <= values_K[~passed_K].min()


@pytest.mark.parametrize("wanted", [1, 10_000, "clusters", True])
def test_wrong_regions_are_refused(log: OutcomeLog, wanted: object) -> None:
    with pytest.raises(ConfigError, match="regions must be"):
        Router.fit(log, estimator=registry.create("estimator", "knn"), regions=wanted)  # type: ignore[arg-type]


def test_regions_need_tasks_or_a_dense_signal(log: OutcomeLog) -> None:
    plain = OutcomeLog.from_arrays(log.texts, log.experts, log.matrix())
    with pytest.raises(ConfigError, match="task names"):
        Router.fit(plain, estimator=registry.create("estimator", "knn"), regions="tasks")
    with pytest.raises(ConfigError, match="dense signal"):
        Router.fit(log, estimator=registry.create("estimator", "constant"), regions=2)
