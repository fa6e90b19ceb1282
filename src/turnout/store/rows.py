"""A trace as a row of the store, and back. Vectors are kept as one byte per number.

A dense vector x of up to SHORT numbers is kept as float32, a longer one as int8 with one scale s = max|x| / 127, so
that each number is off by at most s / 2.

Limits: sparse signals (TF-IDF) are not kept; they are made again from the prompt where prompts are kept. JSON has no
NaN or infinity; both come back as NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from turnout.types import CallRecord, Decision, Plan, Trace, Usage

SHORT = 64
MOST = (1 << 63) - 1  # of an integer in SQLite
COLUMNS = (
    "id",
    "time",
    "requested",
    "expert",
    "reason",
    "status",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cost",
    "cost_estimate",
    "quality_estimate",
    "propensity",
    "latency_s",
    "first_byte_s",
    "session",
    "decision",
    "signals",
    "calls",
    "versions",
    "prompt",
    "response",
    "score",
    "label",
)
INSERT = f"INSERT OR IGNORE INTO traces ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_NUMBERS = ("quality", "se", "cost", "objective")


def encode(trace: Trace, *, keep_text: bool) -> tuple[Any, ...]:
    """The row, in the order of COLUMNS. Raises TypeError or ValueError where a field cannot be kept."""
    decision, usage = trace.decision, trace.usage
    return (
        trace.id,
        float(trace.time),
        text(trace.requested),
        trace.expert,
        decision.reason if decision else None,
        trace.status,
        _count(usage.prompt_tokens),
        _count(usage.completion_tokens),
        _count(usage.cached_tokens),
        trace.cost,
        _finite(decision.estimate("cost")) if decision else None,
        _finite(decision.estimate("quality")) if decision else None,
        float(decision.propensity) if decision else None,
        trace.latency_s,
        trace.first_byte_s,
        text(trace.session),
        _json(_decision(decision)) if decision else None,
        pack_signals(decision.signals) if decision else None,
        _json([[c.expert, c.status, c.first_byte_s, c.total_s, c.error] for c in trace.calls]),
        _json(dict(trace.versions)) if trace.versions else None,
        text(trace.prompt) if keep_text else None,
        text(trace.response) if keep_text else None,
        trace.score,
        text(trace.label),
    )


def decode(row: Mapping[str, Any]) -> Trace:
    """The trace of a row."""
    return Trace(
        id=row["id"],
        time=row["time"],
        requested=row["requested"],
        decision=_read_decision(row["decision"], row["signals"]),
        calls=[CallRecord(*call) for call in orjson.loads(row["calls"] or b"[]")],
        expert=row["expert"],
        status=row["status"],
        usage=Usage(row["prompt_tokens"], row["completion_tokens"], row["cached_tokens"]),
        cost=row["cost"],
        latency_s=row["latency_s"],
        first_byte_s=row["first_byte_s"],
        session=row["session"],
        versions=orjson.loads(row["versions"] or b"{}"),
        prompt=row["prompt"],
        response=row["response"],
        score=row["score"],
        label=row["label"],
    )


def pack_signals(signals: Mapping[str, Any]) -> bytes | None:
    """Dense vectors as one small binary document; None where there are none."""
    kept = {name: _pack_vector(value) for name, value in signals.items() if isinstance(value, np.ndarray)}
    return msgspec.msgpack.encode(kept) if kept else None


def unpack_signals(blob: bytes | None) -> dict[str, NDArray[np.float32]]:
    """The vectors, each of shape (D,), float32.

    >>> unpack_signals(pack_signals({"length": np.array([1.5, 2.0])}))["length"].tolist()
    [1.5, 2.0]
    """
    if blob is None:
        return {}
    kept: dict[str, tuple[float, bytes]] = msgspec.msgpack.decode(blob)
    return {name: _unpack_vector(scale, data) for name, (scale, data) in kept.items()}


def _pack_vector(value: NDArray[Any]) -> tuple[float, bytes]:
    vector_D = value.astype(np.float32, copy=False).ravel()
    if vector_D.size <= SHORT:
        return 0.0, vector_D.tobytes()
    scale = float(np.abs(vector_D).max()) / 127 or 1.0
    if not math.isfinite(scale):
        raise ValueError("a signal holds NaN or infinity")
    return scale, np.rint(vector_D / scale).astype(np.int8).tobytes()


def _unpack_vector(scale: float, data: bytes) -> NDArray[np.float32]:
    if scale == 0.0:
        return np.frombuffer(data, dtype=np.float32)
    return np.frombuffer(data, dtype=np.int8).astype(np.float32) * np.float32(scale)


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "expert": decision.plan.expert,
        "fallbacks": decision.plan.fallbacks,
        "reason": decision.reason,
        "experts": decision.experts,
        "eligible": decision.eligible,
        **{name: getattr(decision, name) for name in _NUMBERS},
        "propensity": decision.propensity,
        "seed": decision.seed,
        "refusals": dict(decision.refusals),
        "rule": decision.rule,
        "conditions": decision.conditions,
    }


def _read_decision(document: bytes | None, signals: bytes | None) -> Decision | None:
    if document is None:
        return None
    kept = orjson.loads(document)
    return Decision(
        plan=Plan(kept["expert"], tuple(kept["fallbacks"])),
        reason=kept["reason"],
        experts=tuple(kept["experts"]),
        eligible=tuple(kept["eligible"]),
        **{name: _floats(kept[name]) for name in _NUMBERS},
        propensity=kept["propensity"],
        seed=kept["seed"],
        signals=unpack_signals(signals),
        refusals=kept["refusals"],
        rule=kept.get("rule"),
        conditions=kept.get("conditions", {}),
    )


def _floats(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def text(value: str | None) -> str | None:
    """Text that SQLite can hold: lone surrogates, which a JSON body may carry, become question marks."""
    return value if value is None or value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _count(value: int | None) -> int | None:
    """A number of tokens, or None for what no expert can mean and SQLite cannot hold."""
    return value if value is not None and -MOST <= value <= MOST else None


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
