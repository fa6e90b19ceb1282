"""What commands print: results for people through rich, or exactly one JSON document on stdout."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120  # rich would take 80 for a pipe
    return Console(soft_wrap=True, highlight=False, width=width)


def stderr() -> Console:
    """Where progress and remarks go, so that a pipe sees results alone."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def emit(result: Mapping[str, Any], as_json: bool, render: Callable[[Console], None]) -> None:
    """Print the result as one JSON document, or let `render` show it to a person."""
    if as_json:
        sys.stdout.write(json.dumps(plain(result), ensure_ascii=False, indent=2) + "\n")
    else:
        render(stdout())


def plain(value: Any) -> Any:
    """A value that JSON can hold: arrays as lists, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def table(
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    *,
    words: Collection[str] = (),
    title: str | None = None,
) -> Table:
    """A plain table; the first column and those named in `words` are text, the others are aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i == 0 or column in words else "right", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, str) else show(cell) for cell in row))
    return made


def show(value: object) -> str:
    """A number with the digits a reader can use; an em dash where there is none.

    >>> show(0.61834), show(12345), show(None), show(0.0000123)
    ('0.618', '12,345', '—', '1.23e-05')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "—"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def free(out: Path, force: bool) -> None:
    """Raise ConfigError where a log would be written over something, unless that is wanted."""
    from turnout.errors import ConfigError

    taken = (out / "outcomes.parquet").exists() if out.is_dir() else out.exists()
    if taken and not force:
        raise ConfigError(f"{out} exists already; pass --force to overwrite it")


def transfer(console: Console) -> Progress:
    """A bar for bytes that come over the network."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
