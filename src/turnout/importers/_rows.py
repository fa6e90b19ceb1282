"""Rows on their way into a log: scores brought to [0, 1], runs of one cell joined, everything dropped counted."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from turnout.errors import ConfigError, LogError
from turnout.outcomes import OutcomeLog
from turnout.outcomes.schema import REPEATS

_COUNTS, _NUMBERS = ("prompt_tokens", "completion_tokens"), ("cost", "latency", "energy")
_TYPES: Mapping[str, Any] = {
    "query_id": pl.String,
    "expert": pl.String,
    "score": pl.Float64,
    "response": pl.String,
    **dict.fromkeys((*_NUMBERS, *_COUNTS), pl.Float64),
}
_LARGEST_COUNT = 2**53
_ROUNDING = 1e-3  # of the range: sums of probabilities end a little outside


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a source's rows: `read` = `kept` + the sum of `dropped`, counted per query, expert and run.

    `outcomes` are cells of the log, `repeated` those of them with several runs; `ignored` counts measurements that were
    unusable (a negative cost, say); `lost` says what this format holds that a log does not carry.
    """

    format: str
    source: str
    read: int
    kept: int
    dropped: Mapping[str, int]
    queries: int
    experts: int
    outcomes: int
    repeated: int
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lost: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


class Rows:
    """What an importer fills. `scale` is the stated range of scores; `prices` a file of prices per expert."""

    def __init__(self, format: str, scale: tuple[float, float] | None = None, prices: str | None = None) -> None:
        self.format = format
        self.scale = scale
        self._prices = _read_prices(prices) if prices else {}
        self._queries: dict[str, dict[str, str | None]] = {}
        self._columns: dict[str, list[Any]] = {name: [] for name in _TYPES}
        self._kept = 0
        self._seen: dict[tuple[str, str, str], float] = {}
        self._dropped: Counter[str] = Counter()
        self._ignored: Counter[str] = Counter()
        self._notes: dict[str, None] = {}

    def drop(self, reason: str, count: int = 1) -> None:
        """Count a row, or several, that the log does not take."""
        self._dropped[reason] += count

    def note(self, text: str) -> None:
        """Something the user should know, said once."""
        self._notes[clean(text)] = None

    def add(
        self,
        where: str,
        *,
        query_id: str,
        expert: object,
        score: object,
        run: str = "",
        prompt: object = None,
        task: object = None,
        target: object = None,
        response: object = None,
        **measured: object,
    ) -> None:
        """One run of one expert on one query. `run` tells repeats apart; the same run twice is a duplicate row.

        A missing score is a dropped row; one that is no number, or outside the range, a LogError that starts `where`.
        """
        if score is None:
            self.drop("no score")
            return
        if not isinstance(expert, str) or not expert.strip():
            raise LogError(f"{where}: the expert must be a name, got {shown(expert)}")
        value = self._score(where, score)
        query_id, name = clean(query_id), clean(expert)
        earlier = self._seen.setdefault((query_id, name, run), value)
        if earlier != value:
            got = f"a second row for {name!r} on query {query_id!r} scores {value:g}, an earlier one {earlier:g}"
            raise LogError(f"{where}: {got}; remove one of them")
        if len(self._seen) == self._kept:
            self.drop("repeats an earlier row")
            return
        self._query(query_id, prompt=prompt, task=task, target=target)
        numbers = {key: self._number(key, measured.get(key)) for key in (*_NUMBERS, *_COUNTS)}
        numbers["cost"] = self._cost(name, numbers) if numbers["cost"] is None else numbers["cost"]
        text = clean(response) if isinstance(response, str) else None
        self._kept += 1
        for key, each in {"query_id": query_id, "expert": name, "score": value, "response": text, **numbers}.items():
            self._columns[key].append(each)

    def finish(self, source: str, lost: str) -> tuple[OutcomeLog, ImportReport]:
        """The log and its report. Raises LogError where no row is left."""
        read = self._kept + self._dropped.total()
        if not self._kept:
            why = ", ".join(f"{count:,} × {reason}" for reason, count in self._dropped.items())
            raise LogError(f"{source}: no outcomes for a log; rows read: {read}{f' ({why})' if why else ''}")
        outcomes = self._outcomes()
        log = OutcomeLog(self._table_of_queries(), outcomes, where=f"{source}: ")
        report = ImportReport(
            format=self.format,
            source=source,
            read=read,
            kept=self._kept,
            dropped=dict(self._dropped),
            queries=len(log),
            experts=len(log.experts),
            outcomes=outcomes.height,
            repeated=len(outcomes) - outcomes[REPEATS].null_count() if REPEATS in outcomes.columns else 0,
            ignored=dict(self._ignored),
            notes=tuple(self._notes),
            lost=lost,
        )
        return log, report

    def _score(self, where: str, score: object) -> float:
        value = as_number(score)
        if value is None:
            raise LogError(f"{where}: the score must be a number, got {shown(score)}")
        low, high = self.scale or (0.0, 1.0)
        slack = _ROUNDING * (high - low)
        if not low - slack <= value <= high + slack:
            hint = "" if self.scale else "; state the source's range, as in `scale=0:100`"
            raise LogError(f"{where}: score {value:g} is outside [{low:g}, {high:g}]{hint}")
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def _query(self, query_id: str, **texts: object) -> None:
        known = self._queries.setdefault(query_id, dict.fromkeys(texts))
        for name, text in texts.items():
            if not isinstance(text, str) or not text:
                continue
            if known[name] is None:
                known[name] = clean(text)
            elif known[name] != clean(text):
                self.note(f"{name}s differ between rows of one query; the first is kept")

    def _number(self, name: str, value: object) -> float | int | None:
        if value is None:
            return None
        number = as_number(value)
        whole = name in _COUNTS
        if number is None or number < 0 or isinstance(value, bool) or (whole and number > _LARGEST_COUNT):
            self._ignored[name] += 1
            return None
        return round(number) if whole else number

    def _cost(self, expert: str, numbers: Mapping[str, float | int | None]) -> float | None:
        price, tokens = self._prices.get(expert), [numbers[name] for name in _COUNTS]
        if price is None or any(count is None for count in tokens):
            return None
        return sum(each * (count or 0) for each, count in zip(price, tokens, strict=True)) / 1e6

    def _outcomes(self) -> pl.DataFrame:
        frame = pl.DataFrame(self._columns, schema=_TYPES)
        means = [pl.col(name).mean() for name in _NUMBERS]
        counts = [pl.col(name).mean().round().cast(pl.Int64) for name in _COUNTS]
        repeats = pl.when(pl.len() > 1).then(pl.col("score").implode()).alias(REPEATS)
        made = frame.group_by("query_id", "expert", maintain_order=True).agg(
            pl.col("score").mean().clip(0.0, 1.0), *means, *counts, pl.col("response").first(), repeats
        )
        return made.select(
            name for name in made.columns if name in ("query_id", "expert") or made[name].null_count() < made.height
        )

    def _table_of_queries(self) -> pl.DataFrame:
        columns = {"query_id": list(self._queries)}
        for name in ("task", "prompt", "target"):
            values = [texts[name] for texts in self._queries.values()]
            if any(value is not None for value in values):
                columns[name] = values  # type: ignore[assignment]
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def as_number(value: object) -> float | None:
    """A finite number, from a number, a truth value or the text of either; None for anything else.

    >>> as_number("True"), as_number("0.5"), as_number("nan"), as_number([1])
    (1.0, 0.5, None, None)
    """
    if isinstance(value, str):
        truth = {"true": True, "false": False}.get(value.strip().lower())
        if truth is None and len(value) > 64:
            return None
        value = value.strip() if truth is None else truth
    if not isinstance(value, (bool, int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def clean(text: str) -> str:
    """The text without lone surrogates, which no file of a log can hold."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def shown(value: object) -> str:
    """How a message shows what was received."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _read_prices(file: str) -> dict[str, tuple[float, float]]:
    """Input and output price per expert, in US dollars per million tokens. Raises ConfigError."""
    try:
        given = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"`prices`: cannot read {file}: {error}") from error
    prices = {}
    for expert, entry in (given if isinstance(given, dict) else {"": None}).items():
        found = [
            as_number(entry.get(f"{side}_price", entry.get(side))) if isinstance(entry, dict) else None
            for side in ("input", "output")
        ]
        if any(price is None or price < 0 for price in found):
            raise ConfigError(f"`prices`: {file}: {expert!r} needs input_price and output_price, got {shown(entry)}")
        prices[expert] = (found[0] or 0.0, found[1] or 0.0)
    return prices
