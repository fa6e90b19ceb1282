"""How evaluations look on a terminal; shared by eval, bench and systems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from turnout.cli._output import show, stderr, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from turnout.evaluation.benchmark import Bar
    from turnout.evaluation.results import Evaluation, Row
    from turnout.stats import Interval


def span(interval: Interval | None, digits: int = 3, signed: bool = False) -> str:
    """`mean [low, high]`."""
    if interval is None:
        return "—"
    sign = "+" if signed else ""
    return "{0:{f}} [{1:{f}}, {2:{f}}]".format(*interval, f=f"{sign}.{digits}f")


def render(console: Console, evaluation: Evaluation) -> None:
    """The whole evaluation: warnings, table, two-model figures, shares, remarks."""
    from rich.markup import escape

    console.print(f"[bold]{escape(evaluation.title)}[/bold]")
    for warning in evaluation.warnings:
        console.print(f"[bold white on red] WARNING [/] [bold]{escape(warning)}[/bold]")
    console.print(f"[dim]{evaluation.protocol}. Intervals are 95 %.[/dim]")
    columns = [
        "",
        "accuracy",
        "gain over best single",
        "gap to oracle",
        "nominal US$ / 1,000" if evaluation.nominal else "US$ / 1,000",
        "AIQ",
        "ECE",
    ]
    show_table(console, table(columns, [_cells(row) for row in evaluation.rows]))
    if evaluation.aiq_singles is not None:
        console.print(f"[dim]A coin between single experts reaches AIQ {evaluation.aiq_singles:.3f}.[/dim]")
    _render_pair(console, evaluation)
    for row in evaluation.rows[:1]:
        shares = sorted(row.share.items(), key=lambda item: -item[1])
        text = ", ".join(f"{name} {part:.0%}" for name, part in shares if part >= 0.005)
        console.print(f"share per expert ({row.name}): {escape(text)}")
    for remark in evaluation.remarks:
        console.print(f"[dim]{escape(remark)}[/dim]")


def show_table(console: Console, made: Table) -> None:
    """A pipe has no width of its own; a table should not be folded there."""
    if not console.is_terminal:
        console.width = max(console.width, 132)
    console.print(made)


def _cells(row: Row) -> list[object]:
    return [
        row.name,
        span(row.accuracy),
        span(row.gain, signed=True),
        None if row.gap is None else row.gap.mean,
        "—" if row.cost is None else show(row.cost.mean),
        row.aiq,
        row.ece,
    ]


def _render_pair(console: Console, evaluation: Evaluation) -> None:
    from rich.markup import escape

    pair = evaluation.pair
    if pair is None:
        return
    rows = [[r.name, span(r.apgr), f"{r.cpt50:.1%}", f"{r.cpt80:.1%}", span(r.gain, signed=True)] for r in pair.rows]
    title = f"between {escape(pair.weak)} and {escape(pair.strong)} (RouteLLM's figures; random is .5, 50 %, 80 %)"
    show_table(console, table(["", "APGR", "CPT50", "CPT80", "over prompt length"], rows, title=title))


def render_bars(console: Console, name: str, bars: Sequence[Bar]) -> None:
    """Pass or miss, one line each."""
    rows = [
        [
            bar.claim,
            "[green]pass[/green]" if bar.passed else "[bold red]miss[/bold red]",
            bar.wanted,
            span(bar.measured, 4),
            f"{bar.gap:+.4f}",
            bar.note,
        ]
        for bar in bars
    ]
    show_table(console, table([f"{name}: bar", "", "wanted", "measured", "gap", ""], rows))


def numbers(text: str) -> tuple[int, ...]:
    """Seeds from `3` (0, 1 and 2), `0,7,9`, or `7,` (7 alone)."""
    from turnout.errors import ConfigError

    try:
        found = tuple(int(part) for part in text.removesuffix(",").split(","))
    except ValueError:
        found = ()
    if "," not in text and len(found) == 1:
        found = tuple(range(found[0]))
    if not found:
        raise ConfigError(f"`--seeds` must be a count or numbers with commas, got {text!r}")
    return found


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr."""
    from rich.progress import Progress

    with Progress(console=stderr(), transient=True) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def write_html(path: Path, text: str) -> None:
    """Write a report and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    stderr().print(f"wrote {path}")
