"""Logs on disk: a folder with two Parquet files, or one long file."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path

import polars as pl

from turnout.errors import LogError
from turnout.outcomes.schema import NUMBERS, OUTCOME_TEXTS, OWN, QUERY_TEXTS, REPEATS, SIGNAL, is_query_column

SUFFIXES = (".parquet", ".jsonl", ".csv")


def read(path: Path) -> tuple[pl.DataFrame | None, pl.DataFrame]:
    """Queries (None where the outcomes hold them) and outcomes, unchecked. Raises LogError."""
    if path.is_dir():
        if not (path / "outcomes.parquet").is_file():
            found = ", ".join(sorted(item.name for item in path.iterdir())[:10]) or "nothing"
            raise LogError(f"{path}: a log folder needs outcomes.parquet (and queries.parquet); it holds {found}")
        queries = _parquet(path / "queries.parquet") if (path / "queries.parquet").is_file() else None
        return queries, _parquet(path / "outcomes.parquet")
    if not path.is_file():
        raise LogError(f"{path}: no such file or folder")
    readers = {".parquet": _parquet, ".jsonl": _jsonl, ".csv": _csv}
    if path.suffix.lower() not in readers:
        raise LogError(f"{path}: a log is a folder or a file ending in {', '.join(SUFFIXES)}, got {path.suffix!r}")
    return None, readers[path.suffix.lower()](path)


def write(queries: pl.DataFrame, outcomes: pl.DataFrame, path: Path) -> None:
    """A folder, or one long file in the queries' order.

    Limits: a long file cannot keep a query without an outcome, and a partial log's experts may come back in another
    order (that of their first rows).
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        path.mkdir(parents=True, exist_ok=True)
        queries.write_parquet(path / "queries.parquet")
        outcomes.write_parquet(path / "outcomes.parquet")
        return
    own = {name: OWN + name for name in queries.columns if not is_query_column(name)}
    long = queries.rename(own).join(outcomes, on="query_id", how="inner", maintain_order="left_right")
    long = long.select(*outcomes.columns, *(name for name in long.columns if name not in outcomes.columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".parquet":
        long.write_parquet(path)
    elif suffix == ".jsonl":
        long.write_ndjson(path)
    else:
        _write_csv(long, path)


def _parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LogError(f"{path}: not a readable Parquet file: {error}") from error


def _jsonl(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_ndjson(_plain(path), infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LogError(f"{path}: {_bad_line(path) or error}") from error

    blank = [name for name in frame.columns if frame[name].dtype == pl.Null and name not in NUMBERS]
    return frame.with_columns(pl.col(name).cast(pl.String) for name in blank if not name.startswith(SIGNAL))


def _plain(path: Path) -> Path | bytes:
    """The file, or its bytes where polars would stop at a byte order mark or take the name for a pattern."""
    with path.open("rb") as file:
        begins = file.read(len(BOM_UTF8))
        if begins == BOM_UTF8:
            return file.read()
        return begins + file.read() if set("*?[") & set(str(path)) else path


def _bad_line(path: Path) -> str | None:
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip() and not isinstance(json.loads(line, parse_constant=_refuse), dict):
                    return f"line {number} is not a JSON object"
            except ValueError as error:
                return f"line {number} is not JSON: {error}"
    return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number; leave the field out")


def _csv(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, infer_schema=False, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LogError(f"{path}: not a readable CSV file: {error}") from error
    return frame.with_columns(_typed(path, frame[name]) for name in frame.columns)


def _typed(path: Path, column: pl.Series) -> pl.Series:
    """CSV holds text only: our columns get their type, others become numbers where that loses nothing."""
    if column.name in (*OUTCOME_TEXTS, *QUERY_TEXTS):
        return column
    if column.name.startswith(SIGNAL) or column.name == REPEATS:
        try:
            return column.str.json_decode(pl.List(pl.Float64 if column.name == REPEATS else pl.Float32))
        except pl.exceptions.PolarsError as error:
            raise LogError(f"{path}: column {column.name!r} must hold JSON lists of numbers: {error}") from error
    if column.name in NUMBERS:
        numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
        bad = numbers.is_null() & column.is_not_null()
        if bad.any():
            at = int(bad.arg_max() or 0)
            raise LogError(
                f"{path}: row {at + 1}: column {column.name!r} must be {NUMBERS[column.name]}, got {column[at]!r}"
            )
        return numbers
    for dtype in (pl.Int64, pl.Float64):
        cast = column.cast(dtype, strict=False)
        if cast.null_count() < len(cast) and cast.cast(pl.String).eq_missing(column).all():
            return cast
    return column


def _write_csv(long: pl.DataFrame, path: Path) -> None:
    nested = [name for name in long.columns if long[name].dtype.is_nested()]
    texts = [
        pl.Series(name, [None if v is None else json.dumps(v) for v in long[name].to_list()], dtype=pl.String)
        for name in nested
    ]
    long.with_columns(texts).write_csv(path)
