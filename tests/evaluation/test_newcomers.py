"""Curves of a newcomer's worth."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from turnout import registry
from turnout.errors import LogError, ParameterError, UnknownNameError
from turnout.evaluation._lines import Panel, draw
from turnout.evaluation.newcomers import ADDED, CAUTIOUS, REFITTED, curves
from turnout.outcomes import OutcomeLog


def test_a_specialist_is_worth_more_with_more_labels(log: OutcomeLog) -> None:
    tried = {name: registry.create("estimator", name) for name in ("ridge", "constant")}
    ridge, constant = curves(log, "names", tried, labels=(5, 150), seeds=(0, 1))
    assert ridge.full > ridge.without + 0.04
    by_place = {(point.way, point.labels): point for point in ridge.points}
    assert set(by_place) == {(way, count) for way in (ADDED, CAUTIOUS, REFITTED) for count in (5, 150)}
    assert by_place[CAUTIOUS, 5].share <= by_place[ADDED, 5].share
    for way in (ADDED, REFITTED):
        assert by_place[way, 150].gain.mean > 0.03
        assert 0.3 < by_place[way, 150].share < 0.7
    assert by_place[ADDED, 150].quality == pytest.approx(ridge.full, abs=0.05)
    assert constant.without == pytest.approx(log.matrix()[:, [0, 2]].mean(axis=0).max(), abs=0.1)


def test_adding_and_refitting_agree_for_a_constant(log: OutcomeLog) -> None:
    (curve,) = curves(log, "big", {"constant": registry.create("estimator", "constant")}, labels=(50,), seeds=(0,))
    added, _, refitted = curve.points
    assert added.quality == refitted.quality


def test_what_cannot_be_drawn_is_refused(log: OutcomeLog, make_log: Callable[..., OutcomeLog]) -> None:
    with pytest.raises(UnknownNameError, match="nosuch"):
        curves(log, "nosuch", {})
    with pytest.raises(LogError, match="every expert's score"):
        curves(make_log(100, partial=True), "big", {})
    with pytest.raises(ParameterError, match=r"`labels` must be positive integers, got \(0, 5\)"):
        curves(log, "big", {}, labels=(0, 5))


def test_a_number_of_labels_named_twice_counts_once(log: OutcomeLog) -> None:
    tried = {"constant": registry.create("estimator", "constant")}
    (curve,) = curves(log, "big", tried, labels=(50, 50), seeds=(0,))
    assert [point.labels for point in curve.points] == [50] * 3


def test_a_plot_shows_every_line_once() -> None:
    pytest.importorskip("matplotlib")
    made = draw([Panel("title", "x", "y", {"one": [(1, 2), (10, 3)]}, {"one": [(1, 1), (10, 2)]}, {"level": 2.5})])
    assert made.startswith("<?xml")
    assert made.count(">one<") == 1
    assert ">level<" in made
