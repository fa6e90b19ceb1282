"""`turnout systems`: published systems as presets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.evaluation.results import Evaluation
    from turnout.systems.base import System

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
    rows = [[s.name, s.level, s.novelty, _short(s), s.claim.source] for s in found]
    columns = ["system", "level", "novelty", "gain over best single here", "source"]
    emit({"systems": [s.to_dict() for s in found]}, as_json, lambda console: console.print(table(columns, rows)))


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
    table: Annotated[str, typer.Option(help="The table to measure on.")] = "nine_llm",
    seeds: Annotated[str, typer.Option(help="How many seeds, or their numbers with commas.")] = "5",
    html: Annotated[Path | None, typer.Option(help="Also write a report as one HTML file.")] = None,
    record: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a system beside the baselines, by five-fold cross-validation."""
    import json
    from dataclasses import replace

    from turnout import registry
    from turnout.cli._evaluation import numbers, progress, render, write_html
    from turnout.cli._output import emit, plain
    from turnout.evaluation import datasets
    from turnout.evaluation.methods import Fitted
    from turnout.evaluation.protocol import crossval
    from turnout.evaluation.report import page, require

    if html:
        require()
    system: System = registry.get("system", name)
    log = datasets.load(table, data)
    method = Fitted(system.name, system.title, system.build())
    with progress(f"{system.title} on {table}") as tick:
        found = crossval([method], log, seeds=numbers(seeds), progress=tick)
    evaluation = replace(found.evaluation, title=f"{system.title} on {table}")
    if html:
        write_html(html, page([evaluation], evaluation.title))
    if record:
        write_html(record, json.dumps(plain(_figures(evaluation, table)), indent=2, ensure_ascii=False) + "\n")
    emit(evaluation.to_dict(), as_json, lambda console: render(console, evaluation))


def _figures(evaluation: Evaluation, table: str) -> dict[str, Any]:
    """What is kept of a measurement."""
    first = evaluation.rows[0]
    return {
        "table": table,
        "protocol": evaluation.protocol,
        "accuracy": first.accuracy._asdict(),
        "gain": first.gain._asdict() if first.gain else None,
        "rows": [
            {
                "name": row.name,
                "accuracy": row.accuracy.mean,
                "gain": row.gain.mean if row.gain else None,
                "cost": row.cost.mean if row.cost else None,
            }
            for row in evaluation.rows
        ],
    }


def _short(system: System) -> str:
    found = system.measured()
    if not found:
        return "not measured yet"
    return f"{found['gain']['mean']:+.3f} [{found['gain']['low']:+.3f}, {found['gain']['high']:+.3f}]"


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
    console.print(f"gain over the best single expert, measured here: {_short(system)}; command: {system.command}")
