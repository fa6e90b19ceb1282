"""Line plots of a measured quantity, as a stand-alone SVG. matplotlib is imported inside the function."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turnout.evaluation._figures import require

COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#b91c1c", "#4d7c0f")
INK, MUTED, GRID = "#1f2937", "#6b7280", "#e5e7eb"


@dataclass(frozen=True)
class Panel:
    """One plot: `lines` from a name to points (x, y); `dashed` ones are shown broken, `levels` as horizontal lines."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    dashed: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    logarithmic: str = "x"


def draw(panels: Sequence[Panel], columns: int = 3) -> str:
    """All panels as one SVG on white; a name keeps its colour. Raises ConfigError without matplotlib."""
    require()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    style: Any = {"svg.hashsalt": "lines", "svg.fonttype": "none", "font.size": 10.0, "axes.edgecolor": GRID}
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.2 * columns, 3.6 * rows), layout="constrained")
        for place, panel in enumerate(panels):
            axes = figure.add_subplot(rows, columns, place + 1)
            _panel(axes, panel)
        out = io.StringIO()
        figure.savefig(out, format="svg", facecolor="white", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _panel(axes: Any, panel: Panel) -> None:
    names = list(dict.fromkeys([*panel.lines, *panel.dashed]))
    for style, group in (("-", panel.lines), ((0, (4, 2)), panel.dashed)):
        for name, points in group.items():
            xs, ys = zip(*points, strict=True)
            label = name if style == "-" or name not in panel.lines else None
            colour = COLOURS[names.index(name) % len(COLOURS)]
            axes.plot(xs, ys, linestyle=style, color=colour, marker="o", markersize=3.5, label=label)
    for name, value in panel.levels.items():
        axes.axhline(value, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
        axes.annotate(name, (0.01, value), xycoords=("axes fraction", "data"), va="bottom", color=MUTED, fontsize=8)
    if "x" in panel.logarithmic:
        axes.set_xscale("log")
    if "y" in panel.logarithmic:
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:.6g}")
        axis.set_minor_formatter(lambda *_: "")
    axes.set_title(panel.title, loc="left", fontsize=9.5, color=INK)
    axes.set_xlabel(panel.x, color=MUTED)
    axes.set_ylabel(panel.y, color=MUTED)
    axes.tick_params(colors=MUTED, length=0)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if names:
        axes.legend(frameon=False, fontsize=8)
