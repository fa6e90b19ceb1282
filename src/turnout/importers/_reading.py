"""Files of other people: JSON, JSON lines, CSV, Parquet and zip, read so that every fault is a LogError with its place.

Nothing here trusts a file: depth, numbers, encodings and what an archive unpacks to are all bounded.
"""

from __future__ import annotations

import csv
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl

from turnout.errors import LogError, did_you_mean

HEAD = 1 << 16  # bytes that detection reads
LARGEST_FIELD = 1 << 28  # characters of one CSV field
LARGEST_MEMBER = 512 << 20  # bytes of one file in an archive, unpacked
LARGEST_ARCHIVE = 16 << 30  # bytes of an archive, unpacked
MOST_MEMBERS = 500_000
MOST_FILES = 100_000  # of a folder
DEEPEST = 8  # folders below the one that is named

Record = dict[str, Any]
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|[{}\[\]:,]')


def walk(path: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """The file, or the files below a folder, whose name fits a pattern, in order."""
    wanted = tuple(patterns)
    if path.is_file():
        if _fits(path.name, wanted):
            yield path
        return
    count = 0
    for folder, below, names in os.walk(path):
        below.sort()
        if len(Path(folder).relative_to(path).parts) >= DEEPEST:
            below.clear()
        for name in sorted(names):
            count += 1
            if count > MOST_FILES:
                raise LogError(f"{path}: more than {MOST_FILES:,} files; name a smaller folder")
            if _fits(name, wanted):
                yield Path(folder, name)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def head(file: Path) -> str:
    """The first characters of a text file, "" where there are none to read."""
    try:
        with file.open("rb") as handle:
            raw = handle.read(HEAD)
    except OSError:
        return ""
    return "" if b"\0" in raw else raw.decode("utf-8", "ignore").removeprefix("\ufeff").lstrip()


def keys(text: str) -> frozenset[str]:
    """The top-level keys of the first object of a JSON text (of an array: of its first element), as far as it goes.

    >>> sorted(keys('[{"a": {"b": 1}, "c": [{"d": 2}], "e')), sorted(keys('{"a": "x{y", "b"'))
    (['a', 'c'], ['a'])
    """
    start = re.match(r"\s*(\[\s*)?\{", text)
    found: list[str] = []
    if not start:
        return frozenset()
    depth, last = 1, None
    for token in _TOKEN.finditer(text, start.end()):
        mark = token[0]
        if mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
            if not depth:
                break
        elif mark == ":" and depth == 1 and last is not None:
            found.append(last)
        last = token[1] if token[1] is not None else None
    return frozenset(found)


def is_array(text: str) -> bool:
    """Whether a JSON text is an array."""
    return text.startswith("[")


def header(file: Path) -> list[str]:
    """The names in the first row of a CSV file, or the columns of a Parquet file; [] where there are none."""
    if file.suffix.lower() == ".parquet":
        try:
            return pl.scan_parquet(file, glob=False).collect_schema().names()
        except (pl.exceptions.PolarsError, OSError):
            return []
    text = head(file)
    try:
        return next(csv.reader([*text.splitlines(keepends=True)[:50]]), [])
    except csv.Error:
        return []


def document(file: Path) -> Any:
    """A whole JSON file. Raises LogError with the line."""
    return parse(_text(file), str(file))


def parse(text: str, where: str) -> Any:
    """JSON; NaN and infinities come as they are, for the reader of the field to refuse. Raises LogError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise LogError(f"{where}: line {error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    except ValueError as error:
        raise LogError(f"{where}: not JSON: {error}") from error
    except RecursionError as error:
        raise LogError(f"{where}: not JSON that can be read: nested too deeply") from error


def objects(value: Any, where: str) -> Iterator[tuple[str, Record]]:
    """The objects of a JSON array with their places, `where: entry N`. Raises LogError for anything else."""
    if not isinstance(value, list):
        raise LogError(f"{where}: must be a JSON array, got {_kind(value)}")
    for i, entry in enumerate(value, 1):
        if not isinstance(entry, dict):
            raise LogError(f"{where}: entry {i} must be an object, got {_kind(entry)}")
        yield f"{where}: entry {i}", entry


def lines(file: Path) -> Iterator[tuple[str, Record]]:
    """The object in every line that is not blank, with its place. Raises LogError."""
    try:
        with file.open(encoding="utf-8-sig") as handle:
            for number, line in enumerate(handle, 1):
                if line.strip():
                    where = f"{file}: line {number}"
                    yield where, as_object(_line(line, where), where)
    except UnicodeDecodeError as error:
        raise LogError(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}") from error


def _line(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LogError(f"{where}: not JSON: {str(error) or 'nested too deeply'}") from error


def table(file: Path) -> Iterator[tuple[str, Record]]:
    """The rows of a CSV or Parquet file; an empty field is None. Raises LogError."""
    return _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)


def _parquet(file: Path) -> Iterator[tuple[str, Record]]:
    try:
        frame = pl.read_parquet(file, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LogError(f"{file}: not a readable Parquet file: {error}") from error
    for number, row in enumerate(frame.iter_rows(named=True), 1):
        yield f"{file}: row {number}", row


def _csv(file: Path) -> Iterator[tuple[str, Record]]:
    try:
        with _wide_fields(), file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            names = next(reader, [])
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise LogError(f"{file}: the column {name!r} stands there twice")
            for number, row in enumerate(reader, 1):
                if row and len(row) != len(names):
                    raise LogError(f"{file}: row {number} has {len(row)} fields, the header {len(names)}")
                if row:
                    pairs = zip(names, row, strict=True)
                    yield f"{file}: row {number}", {name: value or None for name, value in pairs}
    except csv.Error as error:
        raise LogError(f"{file}: not a readable CSV file: {error}") from error
    except UnicodeDecodeError as error:
        raise LogError(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}") from error


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Answers are longer than the csv module's usual 131,072 characters."""
    before = csv.field_size_limit(LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def as_object(value: Any, where: str) -> Record:
    """The value, which must be an object. Raises LogError."""
    if not isinstance(value, dict):
        raise LogError(f"{where}: must be an object, got {_kind(value)}")
    return value


def need(record: Mapping[str, Any], name: str, where: str, *kinds: type) -> Any:
    """A field that has to be there, of one of the given types. Raises LogError that names the fields there are."""
    if name not in record:
        there = ", ".join(map(str, list(record)[:20])) or "none"
        raise LogError(f"{where}: the field {name!r} is missing{did_you_mean(name, map(str, record))} fields: {there}")
    value = record[name]
    if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        allowed = " or ".join(_NAMES.get(kind, kind.__name__) for kind in kinds)
        raise LogError(f"{where}: the field {name!r} must be {allowed}, got {_kind(value)}")
    return value


_NAMES = {str: "a text", dict: "an object", list: "an array", int: "a whole number", float: "a number", bool: "a truth"}


def _kind(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def at(record: Any, path: str) -> Any:
    """The value at a dotted path, None where it leads nowhere.

    >>> at({"a": {"b": [1, 2]}}, "a.b"), at({"a": 1}, "a.b")
    ([1, 2], None)
    """
    for name in path.split("."):
        if not isinstance(record, dict) or name not in record:
            return None
        record = record[name]
    return record


class Archive:
    """The JSON files in a zip, none of them unpacked beyond the limits above. Raises LogError."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise LogError(f"{file}: not a readable zip archive: {error}") from error
        members = self._zip.infolist()
        declared = sum(member.file_size for member in members)
        if len(members) > MOST_MEMBERS or declared > LARGEST_ARCHIVE:
            self._zip.close()
            limits = f"at most {MOST_MEMBERS:,} and {LARGEST_ARCHIVE >> 30} GiB are read"
            raise LogError(f"{file}: {len(members):,} files that unpack to {declared:,} bytes; {limits}")
        self.names = tuple(dict.fromkeys(member.filename for member in members))

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def json(self, name: str) -> Any:
        """One member, parsed."""
        where = f"{self.file}: {name}"
        try:
            with self._zip.open(name) as member:
                raw = member.read(LARGEST_MEMBER + 1)
        except NotImplementedError as error:
            raise LogError(f"{where}: compressed in a way that this Python cannot read: {error}") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError, OSError, ValueError) as error:
            raise LogError(f"{where}: damaged: {error}") from error
        if len(raw) > LARGEST_MEMBER:
            raise LogError(f"{where}: unpacks to more than {LARGEST_MEMBER >> 20} MiB")
        try:
            return parse(raw.decode("utf-8"), where)
        except UnicodeDecodeError as error:
            raise LogError(f"{where}: not UTF-8 text: {error.reason} at byte {error.start}") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LogError(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}") from error
