"""The columns of a log and their rules. Every broken rule is a LogError that names row and column.

Rows are counted from 1 in messages, without the header.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from turnout.errors import LogError, did_you_mean

SIGNAL = "signal."  # prefix of query columns that hold stored signal values


@dataclass(frozen=True, slots=True)
class Column:
    """A number in [low, high]; `above` makes the lower end open; `integer` asks for whole numbers."""

    unit: str
    low: float = 0.0
    high: float = float("inf")
    above: bool = False
    integer: bool = False

    def __str__(self) -> str:
        noun = "a whole number" if self.integer else "a number"
        bounds = f"{'(' if self.above else '['}{self.low:g}, {self.high:g}{']' if self.high < float('inf') else ')'}"
        return f"{noun} in {bounds}" + (f" ({self.unit})" if self.unit else "")


NUMBERS = {
    "score": Column("", high=1.0),
    "cost": Column("US dollars per request"),
    "prompt_tokens": Column("", integer=True),
    "completion_tokens": Column("", integer=True),
    "latency": Column("seconds"),
    "energy": Column("joules"),
    "propensity": Column("", high=1.0, above=True),
}
REQUIRED = ("query_id", "expert", "score")
OUTCOME_TEXTS = ("query_id", "expert", "response")
QUERY_TEXTS = ("query_id", "prompt", "task")
# What other tables call our columns: named in errors, never assumed.
ALIASES = {
    "query_id": ("id", "qid", "query", "question_id", "sample_id", "prompt_id", "index"),
    "expert": ("model", "llm", "arm", "model_name", "model_id", "expert_id", "name"),
    "score": ("scores", "accuracy", "reward", "performance", "correct", "quality", "label", "value"),
    "prompt": ("text", "question", "input", "query", "instruction", "utterance"),
}


def is_query_column(name: str) -> bool:
    """Whether a column of a long table belongs to the query rather than to one outcome."""
    return name in QUERY_TEXTS or name.startswith(SIGNAL)


def check_outcomes(outcomes: pl.DataFrame, where: str = "") -> pl.DataFrame:
    """The outcomes with normal types, or LogError."""
    for name in REQUIRED:
        if name not in outcomes.columns:
            raise LogError(f"{where}column {name!r} is missing{nearest(name, outcomes.columns)}")
    if outcomes.is_empty():
        raise LogError(f"{where}the log holds no outcomes; at least one row is needed")
    outcomes = _texts(outcomes, OUTCOME_TEXTS, ("query_id", "expert"), where)
    for name, rule in NUMBERS.items():
        if name in outcomes.columns:
            outcomes = outcomes.with_columns(_number(outcomes, name, rule, where))
    doubled = outcomes.select(pl.struct("query_id", "expert").is_first_distinct().not_()).to_series()
    if doubled.any():
        row = int(doubled.arg_max() or 0)
        raise LogError(f"{where}{_at(outcomes, row)}: a second outcome for this query and expert; keep one")
    return outcomes


def check_queries(queries: pl.DataFrame, where: str = "") -> pl.DataFrame:
    """The queries with normal types, or LogError."""
    if "query_id" not in queries.columns:
        raise LogError(f"{where}column 'query_id' is missing{nearest('query_id', queries.columns)}")
    queries = _texts(queries, QUERY_TEXTS, ("query_id",), where)
    doubled = queries["query_id"].is_first_distinct().not_()
    if doubled.any():
        raise LogError(f"{where}{_at(queries, int(doubled.arg_max() or 0))}: column 'query_id' repeats an earlier row")
    for name in queries.columns:
        if name.startswith(SIGNAL):
            queries = queries.with_columns(_signal(queries, name, where))
    return queries


def nearest(name: str, present: Iterable[str]) -> str:
    """`; did you mean 'x'?` from a table of usual names or by spelling, and what is there instead."""
    present = list(present)
    alias = next((other for other in present if other.lower() in (name, *ALIASES.get(name, ()))), None)
    hint = f"; is it {alias!r}? rename that column to {name!r};" if alias else did_you_mean(name, present)
    return f"{hint} columns: {', '.join(present) or 'none'}"


def _at(frame: pl.DataFrame, row: int) -> str:
    keys = (f"{key} {frame[key][row]!r}" for key in ("query_id", "expert") if key in frame.columns)
    return f"row {row + 1} ({', '.join(keys)})"


def _texts(frame: pl.DataFrame, names: Iterable[str], needed: Iterable[str], where: str) -> pl.DataFrame:
    for name in names:
        if name not in frame.columns:
            continue
        column = frame[name]
        if column.dtype.is_integer() or column.dtype in (pl.Null, pl.Categorical) or isinstance(column.dtype, pl.Enum):
            column = column.cast(pl.String)
        if column.dtype != pl.String:
            raise LogError(f"{where}column {name!r} must hold text, got {column.dtype}; row 1 holds {column[0]!r}")
        frame = frame.with_columns(column)
        blank = column.is_null() | (column == "")
        if name in needed and blank.any():
            raise LogError(f"{where}{_at(frame, int(blank.arg_max() or 0))}: column {name!r} is empty")
    return frame


def _number(frame: pl.DataFrame, name: str, rule: Column, where: str) -> pl.Series:
    """The column as Float64 or Int64; NaN in an optional column becomes null."""
    column = frame[name]
    if column.dtype in (pl.Null, pl.Boolean) or isinstance(column.dtype, pl.Decimal):
        column = column.cast(pl.Float64)
    if not column.dtype.is_numeric():
        at = int(column.is_not_null().arg_max() or 0)
        raise LogError(
            f"{where}{_at(frame, at)}: column {name!r} must be {rule}, got {column[at]!r} of type {column.dtype}"
        )
    values = column.cast(pl.Float64)
    missing = values.is_null() | values.is_nan().fill_null(True)
    bad = (values < rule.low) | (values > rule.high) | values.is_infinite()
    if rule.above:
        bad |= values <= rule.low
    if rule.integer:
        bad |= values != values.floor()
    bad = missing if name in REQUIRED and missing.any() else bad.fill_null(False) & ~missing
    if bad.any():
        at = int(bad.arg_max() or 0)
        got = "nothing" if column[at] is None else repr(column[at])
        raise LogError(f"{where}{_at(frame, at)}: column {name!r} must be {rule}, got {got}")
    return values.fill_nan(None).cast(pl.Int64 if rule.integer else pl.Float64).alias(name)


def _signal(queries: pl.DataFrame, name: str, where: str) -> pl.Series:
    """The stored signal as equally long lists of Float32; null where a query has none."""
    column = queries[name]
    if column.dtype.is_numeric():
        column = column.to_frame().select(pl.when(column.is_not_null()).then(pl.concat_list(name))).to_series()
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if not isinstance(column.dtype, pl.List):
        raise LogError(f"{where}column {name!r} must hold lists of numbers, got {column.dtype}")
    if not (column.dtype.inner.is_numeric() or column.dtype.inner == pl.Null):
        raise LogError(f"{where}column {name!r} must hold lists of numbers, got {column.dtype}")
    lengths = column.list.len()
    odd = (lengths != lengths.drop_nulls().first()).fill_null(False) if lengths.null_count() < len(lengths) else None
    if odd is not None and odd.any():
        at = int(odd.arg_max() or 0)
        raise LogError(
            f"{where}{_at(queries, at)}: column {name!r} has {lengths[at]} values, earlier rows have "
            f"{lengths.drop_nulls()[0]}"
        )
    return column.cast(pl.List(pl.Float32)).alias(name)
