"""One rule of thresholds for several published systems, against their own words."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout import registry, state
from turnout.errors import NotFittedError, ParameterError
from turnout.modes.threshold_modes import ThresholdModes

NOTHING = np.zeros((0, 0))


def kept(**given: object) -> ThresholdModes:
    return ThresholdModes(**given).fit(NOTHING, NOTHING, NOTHING)  # type: ignore[arg-type]


def test_acar_one_statistic_three_modes() -> None:
    acar = kept(statistics=("1 - sigma",), modes=("single", "lite", "full"), cuts=((0.25, 0.75),))
    assert acar.choose(np.array([[1.0], [0.5], [0.0], [np.nan]])).tolist() == [0, 1, 2, 2]


@given(st.floats(0, 1), st.floats(0, 1))
def test_prism_two_thresholds(p1: float, gap: float) -> None:
    prism = kept(statistics=("p1", "gap"), modes=("one", "two", "all"), combine="first", cuts=((0.35,), (0.10,)))
    wanted = (0 if gap >= 0.10 else 1) if p1 >= 0.35 else 2
    assert prism.choose(np.array([[p1, gap]])).tolist() == [wanted]


def test_pcc_four_quadrants_and_a_sum() -> None:
    corners = np.array([[0.9, 0.9], [0.9, 0.1], [0.1, 0.9], [0.1, 0.1]])
    cuts, names = ((0.5,), (0.5,)), ("certainty", "consistency")
    grid = kept(statistics=names, modes=("answer", "targeted", "reflect", "deep"), combine="grid", cuts=cuts)
    assert grid.choose(corners).tolist() == [0, 1, 2, 3]
    assert kept(statistics=names, modes=("a", "b", "c"), combine="sum", cuts=cuts).choose(corners).tolist() == [
        0,
        1,
        1,
        2,
    ]
    assert kept(statistics=names, modes=("a", "b"), combine="worst", cuts=cuts).choose(corners).tolist() == [0, 1, 1, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.sampled_from(["worst", "learned"]))
def test_a_fit_keeps_the_budget_and_is_never_below_the_cheapest_mode(seed: int, share: float, combine: str) -> None:
    rng = np.random.default_rng(seed)
    statistic_NS, score_NM = rng.random((60, 1)), rng.integers(0, 2, (60, 3)).astype(float)
    cost_NM = np.tile([1.0, 2.0, 4.0], (60, 1))
    budget = 1.0 + 3.0 * share
    made = ThresholdModes(("s",), ("a", "b", "c"), combine=combine, levels=(2,), budget=budget)
    mode_N = made.fit(statistic_NS, score_NM, cost_NM).choose(statistic_NS)
    rows = np.arange(60)
    assert cost_NM[rows, mode_N].mean() <= budget + 1e-9
    if combine == "worst":
        assert score_NM[rows, mode_N].mean() >= score_NM[:, 0].mean()


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_two_single_cuts_are_searched_in_full(seed: int) -> None:
    rng = np.random.default_rng(seed)
    statistic_NS, score_NM = rng.integers(0, 4, (30, 2)).astype(float), rng.random((30, 3))
    cost_NM = np.ones((30, 3))
    made = ThresholdModes(("p", "q"), ("a", "b", "c"), combine="first").fit(statistic_NS, score_NM, cost_NM)
    found = score_NM[np.arange(30), made.choose(statistic_NS)].mean()
    options = {"statistics": ("p", "q"), "modes": ("a", "b", "c"), "combine": "first"}
    every = []
    for x, y in product(np.arange(-0.5, 4.5), repeat=2):
        mode_N = kept(**options, cuts=((x,), (y,))).choose(statistic_NS)
        every.append(score_NM[np.arange(30), mode_N].mean())
    assert found == pytest.approx(max(every))


def test_where_doubt_means_hopeless_only_a_learned_cell_can_say_so() -> None:
    """The middle third gains by asking, the doubtful third never does."""
    sure_N = np.tile([0.1, 0.5, 0.9], 40)
    score_NM = np.array([{0.1: [0.0, 0.0], 0.5: [0.0, 1.0], 0.9: [1.0, 1.0]}[s] for s in sure_N])
    cost_NM = np.tile([1.0, 5.0], (120, 1))
    rows, statistic_N1 = np.arange(120), sure_N[:, None]
    for combine, wanted in (("worst", 1 / 3), ("learned", 2 / 3)):
        made = ThresholdModes(
            ("sure",), ("keep", "ask"), combine=combine, levels=(2,) if combine == "learned" else None, budget=7 / 3
        )
        mode_N = made.fit(statistic_N1, score_NM, cost_NM).choose(statistic_N1)
        assert score_NM[rows, mode_N].mean() == pytest.approx(wanted), combine


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"modes": ("a", "b", "c"), "cuts": ((0.5,),)}, "reaches 2 modes, got 3"),
        ({"cuts": ((0.5, 0.1),), "modes": ("a", "b", "c")}, "cuts must be finite and ascend"),
        ({"cuts": ((0.5,), (0.1,))}, "1 statistics need as many cuts"),
        ({"statistics": ("a", "b"), "combine": "grid"}, "reaches 4 modes, got 2"),
        ({"combine": "best"}, "`combine` must be one of"),
        ({"levels": (0,)}, "`levels` must be a number from 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(given_: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        kept(**given_)
    assert message in str(error.value)


def test_a_budget_out_of_reach_is_told() -> None:
    made = ThresholdModes(budget=0.5)
    with pytest.raises(ParameterError, match=r"budget of 0\.5"):
        made.fit(np.array([[0.1], [0.9]]), np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(ParameterError, match=r"budget of 0\.5"):
        made.clone(combine="learned").fit(np.array([[0.1], [0.9]]), np.ones((2, 2)), np.ones((2, 2)))


def test_it_is_registered_saved_and_asked_only_when_fitted() -> None:
    made = registry.create("mode", "threshold_modes")
    with pytest.raises(NotFittedError):
        made.choose(np.array([[0.5]]))
    rng = np.random.default_rng(0)
    sure_N1, score_NM = rng.random((50, 1)), rng.random((50, 2))
    for combine in ("worst", "learned"):
        fitted = made.clone(combine=combine).fit(sure_N1, score_NM, np.ones((50, 2)))
        arrays: dict[str, np.ndarray] = {}
        again = state.unpack(state.pack(fitted, arrays), arrays)
        assert again.choose(sure_N1).tolist() == fitted.choose(sure_N1).tolist()
