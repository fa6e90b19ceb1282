"""`turnout tune`: try every method on a log, value the search by nested cross-validation, save the winner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout.cli._listed import listed

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.evaluation.search import Standing
    from turnout.evaluation.tuning import Tuning


def command(
    log: Annotated[Path, typer.Argument(help="Outcome log: a folder, or a .parquet, .jsonl or .csv file.")],
    *,
    budget: Annotated[float | None, typer.Option(help="Spend at most this many US dollars per 1,000 requests.")] = None,
    floor: Annotated[
        str | None, typer.Option(help="Least cost at this mean quality, 0–1, or at the `best` single expert's.")
    ] = None,
    curve: Annotated[
        bool, typer.Option("--curve", help="Best quality averaged over all costs (AIQ); λ is set later.")
    ] = False,
    methods: Annotated[
        str | None, typer.Option(help="Estimators and systems, with commas (default: all that suit the log).")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Try each method on this encoder too: all-minilm-l6-v2, a local model, or a file."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Repetitions of the outer folds: a count, or numbers with commas.")] = "1",
    folds: Annotated[int, typer.Option(help="Outer folds that value the search; 0 leaves that out.")] = 5,
    limit: Annotated[
        float | None, typer.Option(min=0.0, help="Seconds for everything; slow methods drop out, figures then vary.")
    ] = None,
    arms: Annotated[
        Path | None, typer.Option("--arms", "--config", help="A turnout.toml: prices and limits of the experts.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (default: as suits the machine).")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder that the router is written to.")] = Path(
        "router"
    ),
    html: Annotated[Path | None, typer.Option(help="Also write a report as one HTML file.")] = None,
    keep_text: Annotated[bool, typer.Option(help="Keep excerpts of 500 queries for explanations.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find the method that suits a log, show what the search is worth on queries it never saw, and save its winner.

    The winner routes only where its gain over always asking the best single expert is clear of zero.
    """
    from dataclasses import replace

    from turnout.cli._evaluation import numbers, progress, write_html
    from turnout.cli._output import emit
    from turnout.cli.fit import known_arms
    from turnout.evaluation.report import page, require
    from turnout.evaluation.tuning import tune
    from turnout.outcomes import OutcomeLog

    if html:
        require()
    goal = _goal(budget, floor, curve)
    read = OutcomeLog.read(log)
    with progress(f"tuning on {log}") as tick:
        found = tune(
            read,
            goal,
            methods=listed(methods) if methods else None,
            arms=known_arms(arms),
            seeds=numbers(seeds),
            outer=folds,
            seconds=limit,
            encoder=encoder,
            workers=workers,
            keep_text=keep_text,
            progress=tick,
        )
    found.router.save(out)
    evaluation = None
    if found.study is not None:
        evaluation = replace(found.study.evaluation, title=f"tuned on {log.name}: {goal.words}")
        found = replace(found, study=replace(found.study, evaluation=evaluation))
    if html and evaluation:
        write_html(html, page([evaluation], evaluation.title))
    emit(_result(found, out), as_json, lambda console: _show(console, found, out))


def _goal(budget: float | None, floor: str | None, curve: bool) -> Any:
    from turnout.errors import ConfigError
    from turnout.evaluation.goals import Goal

    if floor is None or floor == "best":
        return Goal(budget, floor, curve)
    try:
        return Goal(budget, float(floor), curve)
    except ValueError as error:
        raise ConfigError(f"--floor must be a number in [0, 1] or `best`, got {floor!r}") from error


def _result(found: Tuning, out: Path) -> dict[str, Any]:
    from dataclasses import asdict

    from turnout.cli.fit import described

    return {
        "router": str(out),
        "goal": found.goal.words,
        "winner": found.standings[0].name,
        "seconds": found.seconds,
        **described(found.router),
        "leaderboard": [{**asdict(row), "gain": row.gain._asdict()} for row in found.standings],
        "left_out": found.refused,
        "nested": None
        if found.study is None
        else {**found.study.evaluation.to_dict(), "winners": found.winners, "abstained": found.abstained},
    }


def _show(console: Console, found: Tuning, out: Path) -> None:
    from collections import Counter

    from rich.markup import escape

    from turnout.cli._evaluation import render, show_table
    from turnout.cli._output import table

    if found.study is not None:
        render(console, found.study.evaluation)
        chosen = ", ".join(f"{name} ({count})" for name, count in Counter(found.winners).most_common())
        console.print(f"chosen on the outer folds: {chosen}; abstained on {sum(found.abstained)}")
    columns = ["method", "quality", "gain over best single", "US$ / 1,000", "fitted on", "judged on", "s per fit"]
    title = f"leaderboard of the inner folds, which chose the first: {found.goal.words}"
    priced = any(row.cost for row in found.standings)
    show_table(console, table(columns, [_cells(row, priced=priced) for row in found.standings], title=title))
    for why in dict.fromkeys(found.refused.values()):
        names = ", ".join(name for name, reason in found.refused.items() if reason == why)
        console.print(f"[dim]not tried, or dropped: {names}: {escape(why)}[/dim]")
    console.print(f"[bold]{escape(found.router.guard.words())}[/bold]", highlight=False)
    console.print(f"{found.seconds:.0f} s; router: {escape(str(out))}")


def _cells(row: Standing, *, priced: bool) -> list[object]:
    from turnout.cli._evaluation import span

    name = f"{row.name} (= {', '.join(row.also)})" if row.also else row.name
    cost = row.cost if priced else None
    return [name, row.quality, span(row.gain, signed=True), cost, row.fitted_on, row.judged_on, row.seconds]
