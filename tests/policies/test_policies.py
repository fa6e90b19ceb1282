"""The four policies: what they promise on a log, as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.errors import NotFittedError, ParameterError
from turnout.features import Floats
from turnout.policies.budget import Budget
from turnout.policies.floor import Floor
from turnout.policies.share import Share
from turnout.policies.utility import Utility


def estimates(seed: int, rows: int = 80, experts: int = 4) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    cost_NE = random.uniform(1e-5, 1e-2, experts) * random.uniform(0.5, 2.0, (rows, 1))
    return random.uniform(size=(rows, experts)), cost_NE


def spend(choice_N: Floats, cost_NE: Floats) -> float:
    return float(cost_NE[np.arange(len(cost_NE)), choice_N].mean() * 1000)


@given(seed=st.integers(0, 500), part=st.floats(0.0, 1.2))
@settings(max_examples=60, deadline=None)
def test_a_budget_is_kept_on_the_log_and_its_price_is_the_least(seed: int, part: float) -> None:
    quality_NE, cost_NE = estimates(seed)
    least, most = cost_NE.min(axis=1).mean() * 1000, cost_NE.max(axis=1).mean() * 1000
    target = float(least + part * (most - least))
    made = Budget(target).fit(quality_NE, cost_NE)
    assert spend(made.choose(quality_NE, cost_NE), cost_NE) <= target * (1 + 1e-6)
    assert made.lam_ >= 0
    if made.lam_ > 0:
        cheaper = Utility(made.lam_ * (1 - 1e-9)).choose(quality_NE, cost_NE)
        assert spend(cheaper, cost_NE) >= target * (1 - 1e-6)


def test_a_budget_below_the_cheapest_says_what_is_possible() -> None:
    quality_NE, cost_NE = np.ones((5, 2)), np.full((5, 2), [0.002, 0.01])
    with pytest.raises(ParameterError, match=r"`dollars_per_1k` must be at least 2, .* got 1\.5"):
        Budget(1.5).fit(quality_NE, cost_NE)


def test_a_budget_counts_only_eligible_experts() -> None:
    quality_NE, cost_NE = np.full((4, 2), [0.4, 0.9]), np.full((4, 2), [0.001, 0.01])
    eligible_NE = np.array([[True, True]] * 3 + [[False, True]])
    with pytest.raises(ParameterError, match=r"at least 3\.25"):
        Budget(3.0).fit(quality_NE, cost_NE, eligible_NE)
    made = Budget(3.3).fit(quality_NE, cost_NE, eligible_NE)
    assert made.choose(quality_NE, cost_NE, eligible_NE).tolist() == [0, 0, 0, 1]


def test_a_generous_budget_buys_the_best() -> None:
    quality_NE, cost_NE = estimates(3)
    made = Budget(1e6).fit(quality_NE, cost_NE)
    assert made.lam_ == 0
    assert np.array_equal(made.choose(quality_NE, cost_NE), quality_NE.argmax(axis=1))


@pytest.mark.parametrize("made", [Budget(), Share()])
def test_learned_policies_need_a_fit(made: Budget | Share) -> None:
    with pytest.raises(NotFittedError):
        made.choose(*estimates(0))


@given(seed=st.integers(0, 500), share=st.floats(0.0, 1.0), experts=st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_the_strong_expert_gets_its_share(seed: int, share: float, experts: int) -> None:
    quality_NE, cost_NE = estimates(seed, experts=experts)
    made = Share(share).fit(quality_NE, cost_NE)
    assert made.strong_ == cost_NE.mean(axis=0).argmax()
    reached = (made.choose(quality_NE, cost_NE) == made.strong_).mean()
    assert reached == pytest.approx(round(share * 80) / 80)


def test_equal_advantages_stay_below_the_share() -> None:
    quality_NE, cost_NE = np.full((10, 2), [0.4, 0.6]), np.full((10, 2), [1.0, 2.0])
    quality_NE[0, 1] = 0.9
    made = Share(0.5).fit(quality_NE, cost_NE)
    assert (made.choose(quality_NE, cost_NE) == 1).sum() == 1


def test_the_strong_expert_can_be_named_and_must_exist() -> None:
    quality_NE, cost_NE = estimates(1)
    made = Share(0.25, strong=0).fit(quality_NE, cost_NE)
    assert (made.choose(quality_NE, cost_NE) == 0).mean() == 0.25
    with pytest.raises(ValueError, match="column 9"):
        Share(strong=9).fit(quality_NE, cost_NE)


def test_a_strong_expert_that_is_never_eligible_is_no_error() -> None:
    quality_NE, cost_NE = estimates(2)
    eligible_NE = np.ones(quality_NE.shape, dtype=bool)
    eligible_NE[:, cost_NE.mean(axis=0).argmax()] = False
    made = Share(0.5).fit(quality_NE, cost_NE, eligible_NE)
    assert (made.choose(quality_NE, cost_NE, eligible_NE) != made.strong_).all()


def test_a_strong_expert_that_is_alone_somewhere_does_not_spoil_the_threshold() -> None:
    quality_NE, cost_NE = estimates(4, rows=10, experts=2)
    eligible_NE = np.ones(quality_NE.shape, dtype=bool)
    eligible_NE[0, cost_NE.mean(axis=0).argmin()] = False
    made = Share(0.1).fit(quality_NE, cost_NE, eligible_NE)
    assert np.isfinite(made.threshold_)
    assert (made.choose(quality_NE, cost_NE, eligible_NE) == made.strong_).sum() == 1


@given(seed=st.integers(0, 500), floor=st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None)
def test_a_floor_takes_the_cheapest_above_it_else_the_best(seed: int, floor: float) -> None:
    quality_NE, cost_NE = estimates(seed)
    for choice, quality_E, cost_E in zip(Floor(floor).choose(quality_NE, cost_NE), quality_NE, cost_NE, strict=True):
        good = [column for column in range(4) if quality_E[column] >= floor]
        wanted = min(good, key=lambda column: cost_E[column]) if good else int(quality_E.argmax())
        assert choice == wanted


def test_utility_trades_score_for_dollars() -> None:
    quality_NE, cost_NE = np.array([[0.5, 0.8]]), np.array([[0.001, 0.011]])
    assert Utility(lam=29).choose(quality_NE, cost_NE).tolist() == [1]
    assert Utility(lam=31).choose(quality_NE, cost_NE).tolist() == [0]


def test_a_budget_is_spent_though_two_prices_differ_by_rounding():
    rng = np.random.default_rng(0)
    quality_NE, cost_NE = rng.random((200, 3)), np.tile([1e-4, 1e-4, 3e-3], (200, 1))
    apart_NE = cost_NE + np.array([0.0, 1e-19, 0.0])
    policies = [Budget(0.5).fit(quality_NE, c) for c in (cost_NE, apart_NE)]
    assert policies[1].lam_ == pytest.approx(policies[0].lam_)
    choices = [policy.choose(quality_NE, cost_NE) for policy in policies]
    spent = [1000 * cost_NE[np.arange(200), choice_N].mean() for choice_N in choices]
    assert 0.48 < spent[1] <= 0.5
    assert spent[0] == pytest.approx(spent[1])
