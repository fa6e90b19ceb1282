"""The report's figures as inline SVG whose colours are the page's CSS variables, so that both themes fit.

matplotlib is imported here alone, inside the functions.
"""

from __future__ import annotations

import importlib.util
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from turnout.errors import ConfigError
from turnout.evaluation import metrics
from turnout.evaluation.results import Evaluation, Row
from turnout.features import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# stand-ins that matplotlib writes into the SVG, replaced by the page's variables afterwards
INK, MUTED, GRID, ACCENT, WARM, PAPER, GOOD = (f"#00000{i}" for i in range(1, 8))
NAMES = {INK: "ink", MUTED: "muted", GRID: "line", ACCENT: "accent", WARM: "warm", PAPER: "paper", GOOD: "good"}
LABELLED = 14  # single experts that still can be named in the plot
COVERED = 1000  # what covering another label counts for, where a piece of a line or a mark counts one
WIDE = 12.0  # ratio of costs from which the axis is logarithmic


def require() -> None:
    """Raise ConfigError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("the HTML report needs matplotlib; install it with: pip install 'turnout[report]'")


@contextmanager
def _canvas(width: float, height: float, key: str) -> Iterator[tuple[Figure, Axes]]:
    require()
    import matplotlib as mpl
    from matplotlib.figure import Figure as New

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": key,  # ids within the page differ from figure to figure, and stay the same from run to run
        "font.size": 11.0,
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.linewidth": 1.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.major.size": 0,
        "text.color": INK,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "text.parse_math": False,  # a dollar in a name is a dollar
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the reader's fonts draw the text
        figure = New(figsize=(width, height))
        axes = figure.add_subplot()
        axes.set_facecolor("none")
        axes.grid(True, axis="y")
        axes.set_axisbelow(True)
        yield figure, axes


def _svg(figure: Figure, label: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    text = re.sub(r"(?s)^.*?<svg", "<svg", out.getvalue())
    text = re.sub(r"(?s)<metadata>.*?</metadata>", "", text)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # group ids repeat from figure to figure
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        lambda found: f'<svg viewBox="{found[1]}" role="img" aria-label="{escape(label)}">',
        text,
    )
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", text)
    for colour, name in NAMES.items():
        text = text.replace(colour, f"var(--{name})")
    return text.strip()


def cost_quality(evaluation: Evaluation, key: str = "cost") -> str | None:
    """Quality against cost: single experts, the router's curve as λ varies, the baselines. None without costs."""
    rows = {row.name: row for row in evaluation.rows}
    subject = evaluation.rows[0]
    if not evaluation.singles or subject.cost is None:
        return None
    with _canvas(12.2, 5.6, key) as (figure, axes):
        low = _frame(axes, evaluation, rows)
        labels = _Labels(axes)
        _curve(axes, evaluation, subject, labels)
        _markers(axes, rows, low, labels)
        _variants(axes, evaluation, labels)
        _singles(axes, evaluation, low, labels)
        labels.draw()
        axes.set_xlabel("cost, US dollars per 1,000 requests" + (" (nominal)" if evaluation.nominal else ""))
        axes.set_ylabel("quality, mean score")
        return _svg(figure, f"Cost and quality of {subject.name}, single experts and baselines; figures in the table")


Box = tuple[float, float, float, float]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _around(x: float, y: float, reach: float) -> Box:
    return x - reach, y - reach, x + reach, y + reach


@dataclass(frozen=True)
class _Label:
    text: str
    x: float
    y: float
    colour: str
    size: float = 10.5
    weight: str = "normal"


@dataclass
class _Labels:
    """Texts beside points, each on the first side where it covers neither another text nor a point."""

    axes: Axes
    wanted: list[_Label] = field(default_factory=list)
    lines: list[tuple[Floats, Floats]] = field(default_factory=list)

    def add(self, label: _Label) -> None:
        """Ask for a label; the earlier it is asked for, the better its place. One place has one label."""
        for i, other in enumerate(self.wanted):
            if np.allclose((label.x, label.y), (other.x, other.y), rtol=2e-3):
                if " = " not in other.text:
                    self.wanted[i] = replace(other, text=f"{other.text} = {label.text}")
                return
        self.wanted.append(label)

    def draw(self) -> None:
        """Place all labels."""
        self.axes.figure.canvas.draw()  # fixes the scales, so that points have pixels
        taken = [_around(*self._pixel(label.x, label.y), 5.0) for label in self.wanted]
        for x_P, y_P in self.lines:
            along = np.linspace(0, len(x_P) - 1, 60)
            xs, ys = (np.interp(along, np.arange(len(v)), v) for v in (x_P, y_P))
            taken += [_around(*self._pixel(x, y), 2.0) for x, y in zip(xs, ys, strict=True)]
        texts: list[Box] = []
        for label in self.wanted:
            place, box = self._place(label, taken, texts)
            texts.append(box)
            self.axes.annotate(
                label.text,
                (label.x, label.y),
                xytext=place,
                textcoords="offset points",
                va="bottom",
                color=label.colour,
                fontsize=label.size,
                fontweight=label.weight,
                zorder=8,
            )

    def _pixel(self, x: float, y: float) -> tuple[float, float]:
        at = self.axes.transData.transform((x, y)) * 72 / self.axes.figure.dpi
        return float(at[0]), float(at[1])

    def _place(self, label: _Label, taken: Sequence[Box], texts: Sequence[Box]) -> tuple[tuple[float, float], Box]:
        """The offset and box of the side that covers least; another text is worse than any line."""
        width, height = 0.6 * label.size * len(label.text), 1.2 * label.size
        x, y = self._pixel(label.x, label.y)
        left, right = (edge * 72 / self.axes.figure.dpi for edge in (self.axes.bbox.x0, self.axes.bbox.x1))
        best: tuple[int, tuple[float, float], Box] | None = None
        for dx, dy in (
            (9, -height / 2),
            (-width / 2, 8),
            (-width / 2, -8 - height),
            (9, 4),
            (9, -4 - height),
            (-9 - width, -height / 2),
            (-9 - width, 4),
            (-9 - width, -4 - height),
            (-width / 2, 10 + height),
            (-width / 2, -10 - 2 * height),
        ):
            box = (x + dx, y + dy, x + dx + width, y + dy + height)
            covered = sum(_overlap(box, other) for other in taken) + 2 * (box[2] > right + 12) + 2 * (box[0] < left)
            covered += COVERED * sum(_overlap(box, other) for other in texts)
            if best is None or covered < best[0]:
                best = (covered, (dx, dy), box)
        assert best is not None
        return best[1], best[2]


def _frame(axes: Axes, evaluation: Evaluation, rows: dict[str, Row]) -> float:
    """Set the axes' limits; returns the lowest quality shown, since experts far below would flatten the rest."""
    qualities = [p.quality for p in (*evaluation.singles, *evaluation.curve)]
    qualities += [row.accuracy.mean for row in evaluation.rows]
    top = max(qualities)
    best = rows["best single"].accuracy.mean if "best single" in rows else top
    at = [np.array([getattr(p, key) for p in evaluation.singles]) for key in ("cost", "quality")]
    efficient = float(at[1][metrics.hull(at[0], at[1])].min())
    low = max(min(qualities), min(efficient, best - 1.25 * max(top - best, 0.08)))
    pad = 0.06 * (top - low or 1)
    axes.set_ylim(low - pad, top + pad)
    costs = [p.cost for p in (*evaluation.singles, *evaluation.curve) if p.cost > 0]
    if costs and max(costs) / min(costs) > WIDE:
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.35, max(costs) * 2.2)
    else:
        axes.set_xlim(0, max(costs, default=1.0) * 1.3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    return low - pad


def _curve(axes: Axes, evaluation: Evaluation, subject: Row, labels: _Labels) -> None:
    assert subject.cost is not None
    x, y = subject.cost.mean, subject.accuracy
    labels.add(_Label(subject.name, x, y.mean, ACCENT, 13, "bold"))
    if len(evaluation.curve) > 1:
        points = np.array(sorted((p.cost, p.quality) for p in evaluation.curve))
        costs, qualities = _mixtures(points[:, 0], points[:, 1])
        labels.lines.append((costs, qualities))
        axes.plot(costs, qualities, color=ACCENT, linewidth=2.4, zorder=4, solid_capstyle="round")
    axes.plot([x, x], [y.low, y.high], color=ACCENT, linewidth=2.4, zorder=6)
    axes.scatter([x], [y.mean], s=110, color=ACCENT, edgecolor=PAPER, linewidth=1.8, zorder=7)


def _mixtures(cost_P: Floats, quality_P: Floats) -> tuple[Floats, Floats]:
    """Points along the line that tossing a coin between neighbours reaches; on a logarithmic axis it is bent."""
    along = np.linspace(0, len(cost_P) - 1, 24 * (len(cost_P) - 1) + 1)
    at = np.arange(len(cost_P))
    return np.interp(along, at, cost_P), np.interp(along, at, quality_P)


def _variants(axes: Axes, evaluation: Evaluation, labels: _Labels) -> None:
    """The subject under other rules, a budget say: rows named `<subject> …`."""
    for row in evaluation.rows[1:]:
        if row.cost is not None and row.name.startswith(f"{evaluation.subject} "):
            point = (row.cost.mean, row.accuracy.mean)
            axes.scatter(*point, s=60, facecolor=PAPER, edgecolor=ACCENT, linewidth=2, zorder=7)
            labels.add(_Label(row.name, *point, ACCENT))


def _singles(axes: Axes, evaluation: Evaluation, low: float, labels: _Labels) -> None:
    singles = evaluation.singles
    shares = next((row.share for row in evaluation.rows if row.name == "best single"), {})
    shown = [p for p in singles if p.quality >= low]
    cost_P, quality_P = (np.array([getattr(p, key) for p in singles]) for key in ("cost", "quality"))
    vertices = metrics.hull(cost_P, quality_P)
    line = _mixtures(cost_P[vertices], quality_P[vertices])
    labels.lines.append(line)
    axes.plot(*line, color=MUTED, linewidth=1.3, linestyle=(0, (4, 3)), zorder=2)
    axes.scatter(
        [p.cost for p in shown],
        [p.quality for p in shown],
        s=48,
        facecolor=[INK if shares.get(p.name, 0) > 0.5 else PAPER for p in shown],
        edgecolor=MUTED,
        linewidth=1.5,
        zorder=5,
    )
    named = shown if len(shown) <= LABELLED else [singles[int(v)] for v in vertices]
    for point in sorted(named, key=lambda p: -p.quality):
        best = shares.get(point.name, 0) > 0.5
        labels.add(_Label(_short(point.name), point.cost, point.quality, INK if best else MUTED))
    hidden = [p for p in singles if p.quality < low]
    if hidden:
        text = f"{len(hidden)} expert{'s' if len(hidden) > 1 else ''} below {low:.2f}"
        axes.annotate(text, (0.995, 0.015), xycoords="axes fraction", ha="right", color=MUTED, fontsize=10)


def _short(name: str, longest: int = 32) -> str:
    name = name.rpartition("/")[2]
    return name if len(name) <= longest else name[: longest - 1] + "…"


MARKS = {
    "oracle": ("*", GOOD, 190),
    "task table": ("D", WARM, 46),
    "prompt length": ("s", WARM, 46),
    "random": ("x", MUTED, 52),
}


def _markers(axes: Axes, rows: dict[str, Row], low: float, labels: _Labels) -> None:
    for name, (marker, colour, size) in MARKS.items():
        row = rows.get(name)
        if row is None or row.cost is None or row.accuracy.mean < low:
            continue
        axes.scatter([row.cost.mean], [row.accuracy.mean], marker=marker, s=size, color=colour, zorder=5)
        labels.add(_Label(name, row.cost.mean, row.accuracy.mean, colour))


def calibration(bins: Sequence[tuple[float, float, int]], key: str = "calibration") -> str | None:
    """Predicted against observed quality of the chosen experts; None where nothing was predicted."""
    if not bins:
        return None
    predicted, scored, counts = (np.array(column) for column in zip(*bins, strict=True))
    with _canvas(5.0, 4.6, key) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
        firm = counts >= 0.01 * counts.sum()  # a bin of a few queries jumps about; it stays a dot
        axes.plot(predicted[firm], scored[firm], color=ACCENT, linewidth=1.6, zorder=3)
        axes.scatter(
            predicted,
            scored,
            s=18 + 260 * counts / counts.max(),
            color=ACCENT,
            edgecolor=PAPER,
            linewidth=1.4,
            zorder=4,
        )
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_aspect("equal")
        axes.set_xlabel("predicted quality of the chosen expert")
        axes.set_ylabel("observed mean score")
        return _svg(figure, "Calibration: predicted against observed quality, larger dots hold more queries")


def dots(values: Sequence[tuple[str, float]], metric: str, subject: str, key: str = "dots") -> str | None:
    """One dot per row, best on top; the subject's stands out. None for fewer than two rows."""
    if len(values) < 2:
        return None
    order = sorted(values, key=lambda item: item[1])
    own = [name.casefold() == subject.casefold() for name, _ in order]
    with _canvas(9.0, 0.9 + 0.3 * len(order), key) as (figure, axes):
        axes.grid(False, axis="y")
        axes.grid(True, axis="x")
        axes.scatter(
            [value for _, value in order],
            range(len(order)),
            s=[90 if one else 48 for one in own],
            color=[ACCENT if one else MUTED for one in own],
            zorder=4,
        )
        axes.set_yticks(range(len(order)), [_short(name, 60) for name, _ in order])
        axes.set_ylim(-0.7, len(order) - 0.3)
        axes.set_xlabel(metric)
        return _svg(figure, f"{metric} of {len(order)} rows; figures in the table")
