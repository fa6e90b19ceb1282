"""`turnout log value`: what a router would have earned on a log that another policy wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.evaluation.offpolicy import Report
    from turnout.stats import Interval


def value(
    log: Annotated[Path, typer.Argument(help="A log with propensities, as `turnout traces export` writes it.")],
    *,
    router: Annotated[Path, typer.Option(help="Folder of a fitted router, or `shipped`.")],
    explore: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Value it with this chance of a uniform choice.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What a router would have earned: IPS, self-normalised IPS and doubly robust, with intervals over queries."""
    from turnout.cli._output import emit, stderr
    from turnout.evaluation.offpolicy import evaluate_offline, plain
    from turnout.outcomes import OutcomeLog
    from turnout.routers import Router, shipped_path

    loaded = Router.load(shipped_path() if str(router) == "shipped" else router)
    with stderr().status("reading, and comparing prompts"):
        found = evaluate_offline(loaded, OutcomeLog.read(log), explore=explore, seed=seed)
    result = {"log": str(log), "router": str(router), "explore": explore, **plain(found)}
    emit(result, as_json, lambda console: _show(console, found))


def _show(console: Console, found: Report) -> None:
    from rich.markup import escape

    from turnout.cli._output import table

    rows = []
    for name, one in (("router", found.policy), (f"always {escape(found.single)}", found.single_value)):
        rows.append(
            (name, _span(one.dr), _span(one.snips), _span(one.ips), f"{one.effective:.0f}", f"{one.matched:.0%}")
        )
    rows.append(("as logged", _span(found.logged), "", "", str(found.queries), "100%"))
    columns = ["", "doubly robust", "self-normalised", "IPS", "effective n", "matched"]
    if not console.is_terminal:
        console.width = max(console.width, 132)
    console.print(table(columns, rows))
    console.print(f"gain over what was logged: {_span(found.gain_over_logged, signed=True)}")
    console.print(f"gain over always {escape(found.single)}: {_span(found.gain_over_single, signed=True)}")
    for remark in found.remarks:
        console.print(f"[yellow]{escape(remark)}[/yellow]")
    console.print(f"[dim]{found.queries} queries in {found.groups} groups; intervals are 95 %.[/dim]")


def _span(found: Interval | None, *, signed: bool = False) -> str:
    if found is None:
        return "—"
    form = "+.3f" if signed else ".3f"
    return f"{found.mean:{form}} \\[{found.low:{form}}, {found.high:{form}}]"
