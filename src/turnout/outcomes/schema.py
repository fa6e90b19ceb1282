"""The columns of a log and their rules. Every broken rule is a LogError that names row and column.

Rows are counted from 1 in messages, without the header.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from turnout.errors import LogError, did_you_mean

SIGNAL = "signal."  # prefix of query columns that hold stored signal values
OWN = "query."  # prefix, in a long table, of query columns that are the user's own
REPEATS = "repeats"  # outcome column: the scores of single runs, whose mean is `score`
MOST = 1e15  # tokens; a float counts every whole number up to here
_MEAN_TOLERANCE = 1e-6


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
    "prompt_tokens": Column("", high=MOST, integer=True),
    "completion_tokens": Column("", high=MOST, integer=True),
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
    if REPEATS in outcomes.columns:
        outcomes = outcomes.with_columns(_repeats(outcomes, where))
    doubled = outcomes.select(pl.struct("query_id", "expert").is_first_distinct().not_()).to_series()
    if doubled.any():
        row = int(doubled.arg_max() or 0)
        raise LogError(f"{where}{row_name(outcomes, row)}: a second outcome for this query and expert; keep one")
    return outcomes


def check_queries(queries: pl.DataFrame, where: str = "") -> pl.DataFrame:
    """The queries with normal types, or LogError."""
    if "query_id" not in queries.columns:
        raise LogError(f"{where}column 'query_id' is missing{nearest('query_id', queries.columns)}")
    queries = _texts(queries, QUERY_TEXTS, ("query_id",), where)
    doubled = queries["query_id"].is_first_distinct().not_()
    if doubled.any():
        raise LogError(
            f"{where}{row_name(queries, int(doubled.arg_max() or 0))}: column 'query_id' repeats an earlier row"
        )
    for name in queries.columns:
        if name.startswith(SIGNAL):
            queries = queries.with_columns(_signal(queries, name, where))
    return queries


def split_long(
    queries: pl.DataFrame | None, outcomes: pl.DataFrame, where: str = ""
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Move the query columns of checked outcomes to the table of queries, where they must agree within a query."""
    held = [n for n in outcomes.columns if n != "query_id" and (is_query_column(n) or n.startswith(OWN))]
    if queries is not None and not held:
        return queries, outcomes
    names = {name: name.removeprefix(OWN) for name in held}
    long = outcomes.select("query_id", *held).rename(names)
    first = long.unique("query_id", keep="first", maintain_order=True)
    if queries is not None:
        new = [name for name in names.values() if name not in queries.columns]
        first = queries.join(first.select("query_id", *new), on="query_id", how="left", maintain_order="left")
    first = check_queries(first, where)
    wanted = long.select("query_id").join(first, on="query_id", how="left", maintain_order="left")
    for name in names.values():
        given = _signal(long, name, where) if name.startswith(SIGNAL) else long[name].cast(wanted[name].dtype)
        differs = wanted[name].ne_missing(given)
        if differs.any():
            row = int(differs.arg_max() or 0)
            raise LogError(
                f"{where}{row_name(outcomes, row)}: column {name!r} differs from what this query has elsewhere"
            )
    return first, outcomes.drop(held)


def nearest(name: str, present: Iterable[str]) -> str:
    """`; did you mean 'x'?` from a table of usual names or by spelling, and what is there instead."""
    present = list(present)
    alias = next((other for other in present if other.lower() in (name, *ALIASES.get(name, ()))), None)
    hint = f"; is it {alias!r}? rename that column to {name!r};" if alias else did_you_mean(name, present)
    return f"{hint} columns: {', '.join(present) or 'none'}"


def row_name(frame: pl.DataFrame, row: int) -> str:
    """How a message names a row: its number from 1, its query and expert."""
    keys = (f"{key} {frame[key][row]!r}" for key in ("query_id", "expert") if key in frame.columns)
    return f"row {row + 1} ({', '.join(keys)})"


def _value(column: pl.Series, row: int) -> str:
    """How a message shows what was received."""
    value = column[row] if row < len(column) else None
    shown = repr(value.to_list() if isinstance(value, pl.Series) else value)
    return "nothing" if value is None else shown if len(shown) <= 60 else f"{shown[:60]}…"


def _texts(frame: pl.DataFrame, names: Iterable[str], needed: Iterable[str], where: str) -> pl.DataFrame:
    for name in names:
        if name not in frame.columns:
            continue
        column = frame[name]
        if column.dtype.is_integer() or column.dtype in (pl.Null, pl.Categorical) or isinstance(column.dtype, pl.Enum):
            column = column.cast(pl.String)
        if column.dtype != pl.String:
            raise LogError(f"{where}column {name!r} must hold text, got {_value(column, 0)} of type {column.dtype}")
        frame = frame.with_columns(column)
        blank = column.is_null() | (column == "")
        if name in needed and blank.any():
            raise LogError(f"{where}{row_name(frame, int(blank.arg_max() or 0))}: column {name!r} is empty")
    return frame


def _number(frame: pl.DataFrame, name: str, rule: Column, where: str) -> pl.Series:
    """The column as Float64 or Int64; NaN in an optional column becomes null."""
    column = frame[name]
    if column.dtype in (pl.Null, pl.Boolean) or isinstance(column.dtype, pl.Decimal):
        column = column.cast(pl.Float64)
    if not column.dtype.is_numeric():
        at = int(column.is_not_null().arg_max() or 0)
        got = f"got {_value(column, at)} of type {column.dtype}"
        raise LogError(f"{where}{row_name(frame, at)}: column {name!r} must be {rule}, {got}")
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
        raise LogError(f"{where}{row_name(frame, at)}: column {name!r} must be {rule}, got {_value(column, at)}")
    return values.fill_nan(None).cast(pl.Int64 if rule.integer else pl.Float64).alias(name)


def _signal(queries: pl.DataFrame, name: str, where: str) -> pl.Series:
    """The stored signal as equally long lists of finite Float32; null where a query has none."""
    column = queries[name]
    if column.dtype.is_numeric():
        column = queries.select(pl.when(pl.col(name).is_not_null()).then(pl.concat_list(name))).to_series()
    elif isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    elif column.dtype == pl.Null:
        column = column.cast(pl.List(pl.Float32))
    inner = getattr(column.dtype, "inner", None)
    if not isinstance(column.dtype, pl.List) or inner is None or not (inner.is_numeric() or inner == pl.Null):
        raise LogError(f"{where}column {name!r} must hold lists of numbers, got {queries[name].dtype}")
    column = column.cast(pl.List(pl.Float32)).alias(name)
    lengths = column.list.len()
    width = lengths.drop_nulls().head(1)
    odd = (lengths != width).fill_null(False) if len(width) else lengths.is_not_null()
    if odd.any():
        at = int(odd.arg_max() or 0)
        got = f"{row_name(queries, at)}: column {name!r} has {lengths[at]} values"
        raise LogError(f"{where}{got}, earlier rows have {width[0]}")
    sums = column.list.sum().fill_null(0.0)  # NaN and infinities survive a sum; a null within a list does not
    hollow = ~sums.is_finite() | (column.list.drop_nulls().list.len() != lengths).fill_null(False)
    if hollow.any():
        got = f"{row_name(queries, int(hollow.arg_max() or 0))}: column {name!r} has a missing or infinite value"
        raise LogError(f"{where}{got}")
    return column


def _repeats(outcomes: pl.DataFrame, where: str) -> pl.Series:
    """The single runs' scores as lists of Float64, null where there was one run; an empty list becomes null."""
    column = outcomes[REPEATS]
    column = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    column = column.cast(pl.List(pl.Float64)) if column.dtype == pl.Null else column
    inner = getattr(column.dtype, "inner", None)
    if not isinstance(column.dtype, pl.List) or inner is None or not (inner.is_numeric() or inner == pl.Null):
        raise LogError(f"{where}column {REPEATS!r} must hold lists of scores in [0, 1], got {outcomes[REPEATS].dtype}")
    column = column.cast(pl.List(pl.Float64))
    column = pl.select(pl.when(column.list.len() > 0).then(column)).to_series().alias(REPEATS)
    sums = column.list.sum()
    hollow = column.list.drop_nulls().list.len() != column.list.len()
    bad = hollow | sums.is_nan() | (column.list.min() < 0) | (column.list.max() > 1)
    off = (column.list.mean() - outcomes["score"]).abs() > _MEAN_TOLERANCE
    for rule, rows in (("scores in [0, 1]", bad), ("scores whose mean is the row's score", off)):
        broken = rows.fill_null(False)
        if broken.any():
            at = int(broken.arg_max() or 0)
            got = f"column {REPEATS!r} must hold {rule}, got {_value(column, at)}"
            raise LogError(f"{where}{row_name(outcomes, at)}: {got}")
    return column
