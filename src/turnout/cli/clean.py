"""`turnout clean`: remove what Turnout keeps on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

OURS = ("imports", "logs", "traces.sqlite*")


def command(
    models: Annotated[bool, typer.Option("--models", help="Remove the weights too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove traces, logs and fetched sources; with --models the weights too."""
    from turnout.cli._output import stdout
    from turnout.config import home, load

    console = stdout()
    folder = home(load())
    ours = (*OURS, "models") if models else OURS  # the folder may hold other things: TURNOUT_HOME can be any
    doomed = sorted(entry for name in ours for entry in folder.glob(name)) if folder.is_dir() else []
    if not doomed:
        console.print(f"nothing to remove in {folder}")
        return
    size = sum(_size(entry) for entry in doomed)
    console.print("\n".join(str(entry) for entry in doomed))
    if not yes and not typer.confirm(f"remove these ({size / 1e6:.1f} MB)?"):
        raise typer.Exit(1)
    for entry in doomed:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    console.print(f"removed {size / 1e6:.1f} MB")


def _size(entry: Path) -> int:
    files = entry.rglob("*") if entry.is_dir() else [entry]
    return sum(file.stat().st_size for file in files if file.is_file())
