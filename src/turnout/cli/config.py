"""`turnout config show|path`: the configuration in force, and where each value came from."""

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
    from turnout.config import leaves, load

    loaded = load(config)
    rows = [(key, value, loaded.origins[key]) for key, value in leaves(loaded)]
    emit(
        {key: {"value": value, "origin": origin} for key, value, origin in rows},
        as_json,
        lambda console: console.print(
            table(["key", "value", "origin"], [(key, repr(value), origin) for key, value, origin in rows])
        ),
    )


@app.command()
def path() -> None:
    """Print where the user's file and the data folder are."""
    from turnout.config import home, user_file

    stdout().print(f"configuration: {user_file()}\ndata: {home()}")
