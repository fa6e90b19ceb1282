"""Tables of `turnout bench` that a system measures: their bars, and their place on the one page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from turnout import registry
from turnout.evaluation import benchmark
from turnout.evaluation.benchmark import Bar
from turnout.evaluation.methods import Recipe
from turnout.evaluation.protocol import crossval
from turnout.evaluation.report import page
from turnout.evaluation.results import Sheet
from turnout.outcomes import OutcomeLog
from turnout.stats import Interval
from turnout.systems import _bench
from turnout.systems.base import Figures

NAMES = sorted(_bench.TABLES)


def recorded(name: str) -> tuple[Sheet, tuple[Bar, ...]]:
    """The sheet of the figures that are recorded beside the code."""
    system = registry.get("system", _bench.TABLES[name][0])
    found: Figures = system.measured()
    sheet = Sheet(
        f"{name}: {system.title}", system.name, found.metric, found.value, found.gain, found.against, "p", found.rows
    )
    return sheet, tuple(_bench.TABLES[name][1](found))


@pytest.mark.parametrize("name", NAMES)
def test_the_bars_read_what_the_system_measures(name: str) -> None:
    system = registry.get("system", _bench.TABLES[name][0])
    assert system.table == benchmark.table_of(name)
    sheet, bars = recorded(name)
    assert bars
    assert all(np.isfinite(bar.measured).all() for bar in bars)
    worse = replace(system.measured(), value=Interval(0.0, 0.0, 0.0), gain=Interval(-0.1, -0.2, -0.05))
    assert sum(bar.passed for bar in _bench.TABLES[name][1](worse)) <= sum(bar.passed for bar in bars)
    assert sheet.to_dict()["value"].keys() == {"mean", "low", "high"}


def test_newcomers_are_compared_with_the_same_queries() -> None:
    rows = [
        {"name": "seed 0: before", "visible": 0.9, "hidden": None, "out-of-scope recall": 0.9},
        {"name": "seed 0: after 30 by card", "visible": 0.8, "hidden": 0.6, "out-of-scope recall": 0.7},
        {"name": "seed 0: same queries, all by utterances", "visible": 0.8, "hidden": 0.8, "out-of-scope recall": 0.9},
    ]
    bars = _bench.TABLES["clinc150"][1](replace(registry.get("system", "tcar").measured(), rows=rows))
    assert [round(bar.measured.mean, 3) for bar in bars] == [0.75, 1.0, 0.9, 0.7]
    assert [bar.passed for bar in bars] == [False, True, True, False]


def test_every_table_stands_on_one_page() -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    log = OutcomeLog.from_arrays([f"text {n}" for n in range(60)], ["a", "b"], rng.integers(0, 2, (60, 2)))
    found = replace(
        crossval([Recipe(registry.create("estimator", "length"))], log, seeds=(0,)).evaluation, title="made"
    )
    sheets, bars = zip(*map(recorded, NAMES), strict=True)
    text = page([found], "all", {s.title: b for s, b in zip(sheets, bars, strict=True)}, sheets=sheets)
    league = text[text.index("<nav") : text.index("</nav>")]
    anchors = re.findall(r'href="#(\w+)"', league)
    assert anchors == ["e0", *(f"s{number}" for number in range(len(NAMES)))]
    assert all(f'<section id="{anchor}"' in text for anchor in anchors)
    assert f"{sum(bar.passed for bar in bars[0])} of {len(bars[0])}" in league
    assert text.count("<svg") >= 3
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for sheet in sheets:
        assert all(str(row["name"]).replace("'", "&#x27;") in text for row in sheet.rows)


def test_a_folder_says_which_of_them_it_holds(tmp_path: Path) -> None:
    (tmp_path / "metatool").mkdir()
    assert _bench.present(tmp_path) == ["metatool"]
