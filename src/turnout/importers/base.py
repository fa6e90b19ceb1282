"""What an importer is: it finds its files, reads them row by row, and reports what it kept and what it dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

from turnout.base import Component, Rule
from turnout.errors import LogError
from turnout.importers import _reading
from turnout.importers._rows import ImportReport, Rows
from turnout.outcomes import OutcomeLog

__all__ = ["ImportReport", "Importer", "Scale", "Text"]

_PEEKED = 50  # files of a folder that detection looks into


@dataclass(frozen=True)
class Text:
    """A text that is not blank, or None."""

    def allows(self, value: object) -> bool:
        return value is None or (isinstance(value, str) and bool(value.strip()))

    def __str__(self) -> str:
        return "a text or None"


@dataclass(frozen=True)
class Scale:
    """The range of a source's scores as `LOW:HIGH`, or None for [0, 1]."""

    def allows(self, value: object) -> bool:
        return value is None or (isinstance(value, str) and _bounds(value) is not None)

    def __str__(self) -> str:
        return "LOW:HIGH with LOW below HIGH (as in 1:10), or None for [0, 1]"


def _bounds(text: str) -> tuple[float, float] | None:
    number = r"([-+]?(?:\d+\.?\d*|\.\d+))"
    found = re.fullmatch(rf"\s*{number}\s*:\s*{number}\s*", text)
    if not found or not float(found[1]) < float(found[2]) < float("inf"):
        return None
    return float(found[1]), float(found[2])


class Importer(Component):
    """One source's format. Override `_claims` and `_read_file`, or `_read` where several files make one table.

    `patterns` are names of files, as for a shell; `scoring`, `naming` and `lost` say in a sentence how scores come to
    lie in [0, 1], what names an expert, and what the log does not carry. Parameters are texts, so that a command line
    can set them; `options` explains each.
    """

    kind: ClassVar[str] = "importer"
    title: ClassVar[str] = ""
    source: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    scoring: ClassVar[str] = "as they are, in [0, 1]"
    naming: ClassVar[str] = ""
    lost: ClassVar[str] = "nothing"
    patterns: ClassVar[tuple[str, ...]] = ()
    common: ClassVar[Mapping[str, str]] = {
        "scale": "the range of the source's scores as LOW:HIGH; a score x becomes (x − LOW) / (HIGH − LOW)",
        "prices": "a JSON file of {expert: {input_price, output_price}} in US dollars per million tokens, for the cost "
        "of outcomes that have tokens and no cost",
    }
    options: ClassVar[Mapping[str, str]] = {}
    rules: ClassVar[Mapping[str, Rule]] = {"scale": Scale(), "prices": Text()}

    def __init__(self, *, scale: str | None = None, prices: str | None = None) -> None:
        self.scale = scale
        self.prices = prices

    def detect(self, path: str | Path) -> bool:
        """Whether a file, or some file in a folder, is in this format. Never raises."""
        try:
            return any(self._claims(file) for file in islice(self._candidates(Path(path)), _PEEKED))
        except OSError:
            return False

    def read(self, *paths: str | Path) -> tuple[OutcomeLog, ImportReport]:
        """The log of one or more files or folders, and what became of every row.

        A file is read whatever it is called; of a folder those files that are in this format. Raises LogError, naming
        file and row, and ParameterError.
        """
        self.check()
        rows = Rows(self.name, _bounds(self.scale) if self.scale else None, self.prices)
        try:
            files = [file for path in paths for file in self._found(Path(path))]
            self._read(files, rows)
        except OSError as error:
            raise LogError(f"cannot read {error.filename or paths[0]}: {error.strerror or error}") from error
        except RecursionError as error:
            raise LogError(f"{paths[0]}: a value is nested too deeply") from error
        return rows.finish(", ".join(map(str, paths)), self.lost)

    def write_sample(self, folder: Path) -> Path:
        """A small made file (or folder) in this format with two experts or more, for tests and for users to look at."""
        raise NotImplementedError

    def _claims(self, file: Path) -> bool:
        """Whether a file whose name fits is in this format; reads no more than its head."""
        raise NotImplementedError

    def _read(self, files: Sequence[Path], rows: Rows) -> None:
        for file in files:
            self._read_file(file, rows)

    def _read_file(self, file: Path, rows: Rows) -> None:
        raise NotImplementedError

    def _candidates(self, path: Path) -> Iterator[Path]:
        return _reading.walk(path, self.patterns)

    def _found(self, path: Path) -> list[Path]:
        if path.is_file():
            return [path]
        if not path.exists():
            raise LogError(f"{path}: no such file or folder")
        files = [file for file in self._candidates(path) if self._claims(file)]
        if not files:
            raise LogError(f"{path}: no file of {self.title} in this folder; looked for {', '.join(self.patterns)}")
        return files
