"""`turnout eval`: a saved router on a log, beside every baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    router: Annotated[Path, typer.Argument(help="Folder of a fitted router, or `shipped`.")],
    log: Annotated[Path, typer.Argument(help="Outcome log: a folder, or a .parquet, .jsonl or .csv file.")],
    *,
    train: Annotated[
        Path | None, typer.Option(help="The router's training log: its queries are left out of the test.")
    ] = None,
    as_saved: Annotated[
        bool, typer.Option("--as-saved", help="Never refit, not even on the router's own training log.")
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="How many seeds, or their numbers with commas.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a report as one HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Evaluate a router on a log beside random, cheapest, dearest, best single, prompt length, task table and oracle.

    On the router's own training log the recipe is refitted by cross-validation, and the output says so.
    """
    from dataclasses import replace

    from turnout import __version__
    from turnout.cli._evaluation import numbers, progress, render, write_html
    from turnout.cli._output import emit
    from turnout.evaluation.report import page, require
    from turnout.evaluation.saved import evaluate
    from turnout.outcomes import OutcomeLog
    from turnout.routers import Router, shipped_path

    if html:
        require()
    loaded = Router.load(shipped_path() if str(router) == "shipped" else router)
    table = OutcomeLog.read(log)
    with progress(f"evaluating on {log}") as tick:
        found = evaluate(
            loaded,
            table,
            train=OutcomeLog.read(train) if train else None,
            refit=False if as_saved else None,
            seeds=numbers(seeds) if seeds else None,
            progress=tick,
        )
    name = log.name if log.name not in {"", "."} else log.resolve().name
    evaluation = replace(found.evaluation, title=f"{router.name or router} on {name}")
    if html:
        write_html(html, page([evaluation], evaluation.title, note=f"Made by turnout {__version__}."))
    emit(evaluation.to_dict(), as_json, lambda console: render(console, evaluation))
