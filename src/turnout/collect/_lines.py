"""JSON lines of the user's own files."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from turnout.errors import LogError


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object in every line that is not blank, and where it stands (`file:line`). Raises LogError."""
    try:
        lines = path.read_bytes().removeprefix(BOM_UTF8).splitlines()
    except OSError as error:
        raise LogError(f"cannot read {path}: {error}") from error
    for i, line in enumerate(lines, 1):
        if line.strip():
            yield f"{path}:{i}", _object(line, f"{path}:{i}")


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LogError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise LogError(f"{where}: must be an object, got {type(row).__name__}")
    return row
