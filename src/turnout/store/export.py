"""Traces with outcomes as an outcome log. polars is imported here and nowhere else in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from turnout.errors import LogError
from turnout.outcomes import OutcomeLog
from turnout.types import Trace


def export(traces: Iterable[Trace], path: Path) -> OutcomeLog:
    """Write `queries.parquet` and `outcomes.parquet` to a folder, one query per trace, and read them back.

    A signal whose width changed (another encoder) is kept where it has the commonest width. Raises LogError where no
    trace has an outcome.
    """
    scored = [trace for trace in traces if trace.score is not None and trace.expert is not None]
    if not scored:
        raise LogError("no trace has an outcome yet; send feedback or run `turnout traces grade` first")
    path.mkdir(parents=True, exist_ok=True)
    _queries(scored).write_parquet(path / "queries.parquet")
    _outcomes(scored).write_parquet(path / "outcomes.parquet")
    return OutcomeLog.read(path)


def _queries(traces: Sequence[Trace]) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "query_id": [trace.id for trace in traces],
        "time": [trace.time for trace in traces],
        "reason": pl.Series([t.decision.reason if t.decision else None for t in traces], dtype=pl.String),
    }
    if any(trace.prompt for trace in traces):
        columns["prompt"] = pl.Series([trace.prompt for trace in traces], dtype=pl.String)
    kept = [trace.decision.signals if trace.decision else {} for trace in traces]
    for name in sorted({name for signals in kept for name in signals}):
        width = Counter(signals[name].size for signals in kept if name in signals).most_common(1)[0][0]
        vectors = [s[name].tolist() if name in s and s[name].size == width else None for s in kept]
        columns[f"signal.{name}"] = pl.Series(vectors, dtype=pl.List(pl.Float32))
    return pl.DataFrame(columns)


def _outcomes(traces: Sequence[Trace]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "query_id": [trace.id for trace in traces],
            "expert": [trace.expert for trace in traces],
            "score": pl.Series([trace.score for trace in traces], dtype=pl.Float64),
            "cost": pl.Series([_cost(trace) for trace in traces], dtype=pl.Float64),
            "prompt_tokens": pl.Series([trace.usage.prompt_tokens for trace in traces], dtype=pl.Int64),
            "completion_tokens": pl.Series([trace.usage.completion_tokens for trace in traces], dtype=pl.Int64),
            "latency": pl.Series([trace.latency_s for trace in traces], dtype=pl.Float64),
            "propensity": pl.Series([_propensity(trace) for trace in traces], dtype=pl.Float64),
            "response": pl.Series([trace.response for trace in traces], dtype=pl.String),
        }
    )


def _cost(trace: Trace) -> float | None:
    """What was paid; where upstream did not say, what was estimated."""
    return trace.cost if trace.cost is not None or trace.decision is None else trace.decision.estimate("cost")


def _propensity(trace: Trace) -> float:
    """The chance of the expert that answered; a fallback answers with the chance of the choice that led to it."""
    return trace.decision.propensity if trace.decision else 1.0
