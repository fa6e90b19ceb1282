"""The page is whole, self-contained and accessible, and says what the figures say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ConfigError
from turnout.evaluation import _figures as figures
from turnout.evaluation.benchmark import at_least
from turnout.evaluation.methods import Recipe
from turnout.evaluation.protocol import crossval
from turnout.evaluation.report import page, require
from turnout.evaluation.results import Evaluation
from turnout.outcomes import OutcomeLog
from turnout.stats import Interval

pytest.importorskip("matplotlib")
VOID = {"meta", "br", "path", "use", "rect", "link", "img", "hr"}


class Reader(HTMLParser):
    """Collects what the tests look at, and that tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.images: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "svg":
            self.images.append(given.get("aria-label"))
        for key in ("src", "href", "xlink:href"):
            if given.get(key) and not str(given[key]).startswith("#"):
                self.outside.append(str(given[key]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def evaluation(log: OutcomeLog) -> Evaluation:
    found = crossval([Recipe(registry.create("estimator", "ridge"), "router")], log, k=3, seeds=(0,)).evaluation
    return replace(found, title="made <log> & more")


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_balanced_self_contained_and_labelled(evaluation: Evaluation) -> None:
    text = page([evaluation, replace(evaluation, title="second")], "two of them")
    reader = read(text)
    assert reader.outside == []
    assert "<script" not in text
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(reader.ids) == len(set(reader.ids)), "an id that repeats would make one figure clip by another's path"
    assert len(reader.images) == 4
    assert all(reader.images)
    assert '<html lang="en">' in text


def test_figures_take_their_colours_from_the_page(evaluation: Evaluation) -> None:
    text = page([evaluation], "one")
    svg = "".join(re.findall(r"(?s)<svg.*?</svg>", text))
    assert "var(--accent)" in svg
    assert not re.search(r"#0000\d\d", svg)
    assert "prefers-color-scheme: dark" in text


def test_names_are_escaped(evaluation: Evaluation) -> None:
    text = page([evaluation], "<b>title</b>")
    assert "made &lt;log&gt; &amp; more" in text
    assert "<b>title</b>" not in text


def test_names_are_not_read_as_formulas_or_tags(evaluation: Evaluation) -> None:
    odd = ("a$x^$b", "<i>&", "模型", *(point.name for point in evaluation.singles))
    singles = tuple(replace(point, name=name) for point, name in zip(evaluation.singles, odd, strict=False))
    first = replace(evaluation.rows[0], name=r"<u> \d")
    text = page([replace(evaluation, singles=singles, rows=(first, *evaluation.rows[1:]))], "one")
    read(text)
    for name in ("a$x^$b", "&lt;i&gt;&amp;", "模型", r"Cost and quality of &lt;u&gt; \d"):
        assert name in text


def test_costs_that_do_not_differ_have_no_curve_to_speak_of(make_log: Callable[..., OutcomeLog]) -> None:
    plain = make_log(60)
    log = OutcomeLog.from_arrays(plain.texts, plain.experts, plain.matrix(), cost_NE=np.zeros(plain.matrix().shape))
    found = crossval([Recipe(registry.create("estimator", "constant"), "router")], log, k=2, seeds=(0,)).evaluation
    assert found.aiq_singles is None
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page([found], "one"))


def test_every_row_stands_in_the_table_with_its_interval(evaluation: Evaluation) -> None:
    text = page([evaluation], "one")
    for row in evaluation.rows:
        assert row.name in text
        assert f"{row.accuracy.mean:.3f}" in text
        assert f"{row.accuracy.low:.3f} to {row.accuracy.high:.3f}" in text


def test_warnings_come_before_the_verdict(evaluation: Evaluation) -> None:
    text = page([replace(evaluation, warnings=("It was fitted on this.",))], "one")
    assert text.index("It was fitted on this.") < text.index('class="verdict"')


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Interval(0.02, 0.01, 0.03), "beats"),
        (Interval(0.01, -0.01, 0.03), "not shown to beat"),
        (Interval(-0.02, -0.03, -0.01), "does worse"),
        (Interval(0.0, 0.0, 0.0), "does the same"),
    ],
)
def test_the_verdict_follows_the_interval(evaluation: Evaluation, gain: Interval, words: str) -> None:
    rows = (replace(evaluation.rows[0], gain=gain), *evaluation.rows[1:])
    assert words in page([replace(evaluation, rows=rows)], "one")


def test_bars_say_pass_or_miss(evaluation: Evaluation) -> None:
    bars = [at_least("good", 0.5, Interval(0.6, 0.5, 0.7)), at_least("bad", 0.5, Interval(0.4, 0.3, 0.5))]
    text = page([evaluation], "one", {evaluation.title: bars})
    assert text.count(">pass<") == 1
    assert text.count(">miss<") == 1


def test_a_log_without_costs_has_a_page_without_the_plot(make_log: Callable[..., OutcomeLog]) -> None:
    bare = crossval([Recipe(registry.create("estimator", "constant"))], make_log(60, priced=False), seeds=(0,))
    text = page([replace(bare.evaluation, title="bare")], "one")
    assert "Cost and quality" not in text
    assert "US$" not in text
    read(text)


def test_json_and_page_show_the_same_evaluation(evaluation: Evaluation) -> None:
    document = evaluation.to_dict()
    assert document["format"] == 1
    assert document["rows"][0]["accuracy"] == evaluation.rows[0].accuracy._asdict()
    assert document["rows"][0]["name"] == "router"


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"turnout\[report\]"):
        require()


def test_labels_of_points_in_one_corner_do_not_cover_each_other() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.6))
    axes = figure.add_subplot()
    axes.set_xlim(0, 1.2)
    axes.set_ylim(0, 1)
    labels = figures._Labels(axes)
    for height in np.linspace(0.7, 0.92, 12):  # a thicket below, so that every label would rather stand above
        labels.lines.append((np.linspace(0.8, 1.2, 50), np.full(50, height)))
    for name, x in (("the router = prompt length", 1.0), ("task table", 0.99), ("the dearest", 1.01)):
        labels.add(figures._Label(name, x, 0.92, "#000000"))
    labels.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 3
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])
