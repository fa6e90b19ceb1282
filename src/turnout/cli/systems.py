"""`turnout systems`: published systems as presets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.systems.base import Figures, System

app = typer.Typer(help="Published routing systems as presets: list, show, run.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def list_systems(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/systems.md.")] = False,
) -> None:
    """All systems with their claims and the figures measured here."""
    from turnout.cli._output import emit, table
    from turnout.systems.base import markdown as page
    from turnout.systems.base import systems

    if markdown:
        typer.echo(page(), nl=False)
        return
    found = systems()
    rows = [[s.number or "—", s.name, s.level, s.novelty, _headline(s), s.claim.source] for s in found]
    columns = ["no.", "system", "level", "novelty", "measured here", "source"]
    emit(
        {"systems": [s.to_dict() for s in found]},
        as_json,
        lambda console: console.print(table(columns, rows, words=columns)),
    )


@app.command()
def show(name: Annotated[str, typer.Argument(help="As in `turnout systems list`.")], as_json: Json = False) -> None:
    """One system: claim, parts, deviations, limits and figures."""
    from turnout import registry
    from turnout.cli._output import emit

    system: System = registry.get("system", name)
    emit(system.to_dict(), as_json, lambda console: _describe(console, system))


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="As in `turnout systems list`.")],
    *,
    data: Annotated[Path | None, typer.Option(help="Folder of outcome tables; else the variable TURNOUT_DATA.")] = None,
    table: Annotated[str | None, typer.Option(help="The table to measure on; else the system's own.")] = None,
    seeds: Annotated[str, typer.Option(help="How many seeds, or their numbers with commas.")] = "5",
    record: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a system beside the baselines of the same run."""
    import json

    from turnout import registry
    from turnout.cli._evaluation import numbers, progress, write_html
    from turnout.cli._output import emit, plain
    from turnout.systems.base import Run

    system: System = registry.get("system", name)
    where = table or system.table
    with progress(f"{system.title} on {where}") as tick:
        found = system.run(Run(data, where, numbers(seeds), tick))
    if record:
        write_html(record, json.dumps(plain(found.to_dict()), indent=2, ensure_ascii=False) + "\n")
    emit(found.to_dict(), as_json, lambda console: _show_figures(console, system, found))


def _show_figures(console: Console, system: System, found: Figures) -> None:
    """The headline beside the claim, and the table."""
    from turnout.cli._output import show, table

    console.print(f"[bold]{system.title}[/bold] · {found.headline}")
    console.print(f"claim: {system.claim.text} ({system.claim.source})")
    columns = list(found.rows[0]) if found.rows else []
    cells = [[value if isinstance(value, str) else show(value) for value in row.values()] for row in found.rows]
    if not console.is_terminal:  # a pipe has no width of its own; a table should not be folded there
        console.width = max(console.width, 132)
    console.print(table(columns, cells))
    console.print(f"[dim]{found.protocol}. Intervals are 95 %.[/dim]")


def _describe(console: Console, system: System) -> None:
    console.print(f"[bold]{system.title}[/bold] ({system.level} level; its idea is the {system.novelty})")
    console.print(f"claim: {system.claim.text} ({system.claim.source})")
    if system.code:
        console.print(f"authors' code: {system.code}")
    console.print(f"parts: {', '.join(system.parts)}")
    for title, texts in (("differs from the paper", system.deviations), ("limits", system.limits)):
        console.print(f"{title}:")
        for text in texts:
            console.print(f"  · {text}")
    console.print(f"measured here: {_headline(system)}; command: {system.command}")


def _headline(system: System) -> str:
    found = system.measured()
    return found.headline if found else "not measured yet"
