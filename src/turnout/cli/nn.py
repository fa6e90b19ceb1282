"""`turnout nn`: routing inside a network; its small-scale proofs and its parts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout.cli._listed import listed

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.systems.base import Figures, System

app = typer.Typer(help="Routing inside a network: small-scale proofs, and the parts there are.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
HEADINGS = {
    "gate": "Gates",
    "selector": "Selectors",
    "balancer": "Balancers",
    "experts": "Experts",
    "dispatcher": "Dispatchers",
    "combiner": "Combiners",
}


@app.command()
def bench(
    *,
    only: Annotated[str | None, typer.Option(help="Presets and basics by name, with commas; else all.")] = None,
    seeds: Annotated[str, typer.Option(help="How many seeds, or their numbers with commas.")] = "3",
    data: Annotated[
        Path | None, typer.Option(help="Folder of texts and tables; else the variable TURNOUT_DATA.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Also write each preset's figures to a file of this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure every in-model preset beside its baselines, which are trained once: reproduced, tie, or not here."""
    from turnout.cli._evaluation import numbers, progress
    from turnout.cli._output import emit, stderr
    from turnout.errors import TurnoutError
    from turnout.nn import need_torch
    from turnout.systems.base import Run

    need_torch("`turnout nn`")
    rows: list[dict[str, Any]] = []
    for system in _chosen(only):
        began = time.process_time()
        row: dict[str, Any] = {"name": system.name, "number": system.number, "claim": system.claim.text}
        try:
            with progress(system.title) as tick:
                found = system.run(Run(data, system.table, numbers(seeds), tick))
        except TurnoutError as error:
            row.update(figures=None, error=str(error))
        else:
            row.update(figures=found.to_dict(), error=None)
            stderr().print(f"{system.name}: {found.headline}", highlight=False, markup=False)
            if record is not None and system.number is not None:
                _write(record / f"{system.name}.json", found)
        rows.append({**row, "cpu_seconds": time.process_time() - began})
    emit({"systems": rows, "verdicts": _verdicts(rows)}, as_json, lambda console: _show(console, rows))
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


@app.command()
def parts(
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a page of tables.")] = False,
) -> None:
    """Every registered gate, selector, balancer, pool of experts, dispatcher and combiner."""
    from turnout.cli._output import emit, table
    from turnout.nn import need_torch

    need_torch("`turnout nn`")
    found = [(kind, name, line) for kind in HEADINGS for name, line in _parts(kind)]
    if markdown:
        typer.echo(_page(found), nl=False)
        return
    result = {"parts": [{"kind": kind, "name": name, "says": line} for kind, name, line in found]}
    emit(result, as_json, lambda console: console.print(table(["kind", "name", "says"], found, words=("name", "says"))))


def _chosen(only: str | None) -> list[System]:
    """The basics and the in-model presets, or those that are named. Raises UnknownNameError."""
    from turnout.errors import UnknownNameError
    from turnout.nn.presets._basics import BASICS
    from turnout.systems.base import systems

    known = {s.name: s for s in (*BASICS, *(s for s in systems() if s.level == "in-model" and s.measure is not None))}
    if only is None:
        return list(known.values())
    names = listed(only)
    if unknown := [name for name in names if name not in known]:
        raise UnknownNameError("in-model system", unknown[0], known)
    return [known[name] for name in names]


def _write(file: Path, found: Figures) -> None:
    import json

    from turnout.cli._evaluation import write_html
    from turnout.cli._output import plain

    write_html(file, json.dumps(plain(found.to_dict()), indent=2, ensure_ascii=False) + "\n")


def _verdicts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many of each verdict."""
    said = [row["figures"]["verdict"] or "no verdict" if row["figures"] else "not measured" for row in rows]
    return {verdict: said.count(verdict) for verdict in sorted(set(said))}


def _show(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    from turnout.cli._evaluation import show_table
    from turnout.cli._output import table

    columns = ["system", "measured", "baseline", "difference, paired", "verdict", "CPU s"]
    show_table(console, table(columns, [[*_cells(row), f"{row['cpu_seconds']:.0f}"] for row in rows]))
    for row in rows:
        console.print(f"[bold]{row['name']}[/bold]: {row['claim']}")
        if row["error"]:
            console.print(f"  not measured: {row['error']}")
        elif row["figures"]["verdict"] != "reproduced":
            console.print(f"  [dim]{row['figures']['table']}: {row['figures']['protocol']}[/dim]")
    console.print(", ".join(f"{count} {verdict}" for verdict, count in _verdicts(rows).items()))


def _cells(row: Mapping[str, Any]) -> list[str]:
    from turnout.cli._output import show

    found = row["figures"]
    if not found:
        return [row["name"], "—", "—", "—", "not measured"]
    theirs = next((one.get(found["metric"]) for one in found["rows"] if one["name"] == found["against"]), None)
    measured = f"{found['metric']} {show(found['value']['mean'])}"
    gain = found["gain"]
    difference = f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain else "—"
    return [row["name"], measured, f"{found['against']} {show(theirs)}", difference, found["verdict"] or "—"]


def _parts(kind: str) -> Iterator[tuple[str, str]]:
    """Each registered name of a kind with the first sentence of its class."""
    import inspect

    from turnout import registry

    for name in registry.names(kind):
        first = (inspect.getdoc(registry.get(kind, name)) or "").partition("\n\n")[0].replace("\n", " ")
        yield name, re.split(r"(?<=\.)\s", first)[0]


def _page(found: Sequence[tuple[str, str, str]]) -> str:
    """Tables by kind."""
    lines = ["# Parts of a routed layer", "", "Generated by `turnout nn parts --markdown`; do not edit."]
    for kind, heading in HEADINGS.items():
        lines += ["", f"## {heading}", "", "| name | what it does |", "|---|---|"]
        lines += [f"| `{name}` | {text.replace('|', chr(92) + '|')} |" for of, name, text in found if of == kind]
    return "\n".join(lines) + "\n"
