"""`turnout config show|check|path`: the configuration in force, where values came from, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from turnout.cli._output import emit, stdout, table

app = typer.Typer(no_args_is_help=True, help="The configuration in force, and where each value came from.")
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A configuration file.")]


@app.command()
def show(config: ConfigOption = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print each value and its origin."""
    from rich.markup import escape

    from turnout.config import leaves, load

    loaded = load(config)
    rows = [(key, value, loaded.origins[key]) for key, value in leaves(loaded)]
    shown = [(key, escape(repr(value)), escape(origin)) for key, value, origin in rows]
    emit(
        {key: {"value": value, "origin": origin} for key, value, origin in rows},
        as_json,
        lambda console: console.print(table(["key", "value", "origin"], shown, words=("value", "origin"))),
    )


@app.command()
def check(config: ConfigOption = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Check the configuration and its rules: unreachable, conflicting or unused ones make the exit status 1."""
    from dataclasses import asdict

    from rich.markup import escape

    from turnout.config import load
    from turnout.errors import ConfigError, did_you_mean
    from turnout.experts.pool import arms
    from turnout.rules import check as ordered
    from turnout.rules import lint

    loaded = load(config)
    router, pool = loaded.router, [arm.id for arm in arms(loaded)]
    for name, expert in (
        (e.name, expert) for e in ordered(router.signals, router.rules) for expert in e.rule.then.experts
    ):
        if expert not in pool:
            near = did_you_mean(expert, pool)
            raise ConfigError(f"rule {name!r} names no expert of the pool: {expert!r}{near} pool: {', '.join(pool)}")
    findings = lint(router.signals, router.rules)
    result = {"signals": len(router.signals), "rules": len(router.rules), "findings": [asdict(f) for f in findings]}
    facts = f"{len(router.signals)} signals, {len(router.rules)} rules, {len(pool)} experts"
    lines = [f"[yellow]{f.kind}[/]: {escape(f.message)}" for f in findings] or ["nothing to remark"]
    emit(result, as_json, lambda console: console.print("\n".join([facts, *lines])))
    if findings:
        raise typer.Exit(1)


@app.command()
def path() -> None:
    """Print where the user's file and the data folder are."""
    from turnout.config import home, load, user_file

    stdout().print(f"configuration: {user_file()}\ndata: {home(load())}", markup=False)
