"""Rows of the store: what goes in comes out, within the stated precision."""

from __future__ import annotations

import math
import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.features import Sparse
from turnout.store import rows
from turnout.store.migrations import MIGRATIONS, migrate
from turnout.types import CallRecord, Decision, Plan, Trace, Usage

names = st.text(min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | st.floats(0, 1e6)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    experts = tuple(draw(st.lists(names, min_size=1, max_size=4, unique=True)))
    each = st.lists(numbers, min_size=len(experts), max_size=len(experts)).map(tuple)
    return Decision(
        plan=Plan(draw(st.sampled_from(experts)), experts[1:]),
        reason=draw(st.sampled_from(["routed", "explored", "abstained"])),
        experts=experts,
        eligible=tuple(draw(st.booleans()) for _ in experts),
        quality=draw(each),
        se=draw(each),
        cost=draw(each),
        objective=draw(each),
        propensity=draw(st.floats(0, 1)),
        seed=draw(st.integers(0, 2**64 - 1)),
        refusals=draw(st.dictionaries(names, names, max_size=2)),
    )


traces = st.builds(
    Trace,
    id=names,
    time=numbers,
    requested=names,
    decision=st.none() | decisions(),
    calls=st.lists(st.builds(CallRecord, names, st.none() | st.integers(100, 599), maybe, maybe, st.none() | names)),
    expert=st.none() | names,
    status=st.none() | st.integers(100, 599),
    usage=st.builds(Usage, *[st.none() | st.integers(0, 10**6)] * 3),
    cost=maybe,
    latency_s=maybe,
    first_byte_s=maybe,
    session=st.none() | names,
    versions=st.dictionaries(names, names, max_size=2),
    prompt=st.none() | st.text(),
    response=st.none() | st.text(),
)


@settings(max_examples=60, deadline=None)
@given(traces)
def test_a_trace_survives_the_round_trip(trace: Trace) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    migrate(connection)
    connection.execute(rows.INSERT, rows.encode(trace, keep_text=True))
    back = rows.decode(connection.execute("SELECT * FROM traces").fetchone())
    connection.close()
    assert back == trace


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300))
def test_vectors_lose_at_most_half_a_step(values: list[float]) -> None:
    vector_D = np.array(values, dtype=np.float32)
    back_D = rows.unpack_signals(rows.pack_signals({"s": vector_D}))["s"]
    step = 0.0 if len(values) <= rows.SHORT else float(np.abs(vector_D).max()) / 127
    assert back_D.dtype == np.float32
    assert np.abs(back_D - vector_D).max() <= step * 0.5001


def test_an_embedding_takes_a_byte_per_number() -> None:
    blob = rows.pack_signals({"embedding": np.random.default_rng(0).normal(size=256).astype(np.float32)})
    assert blob is not None
    assert len(blob) < 256 + 40


def test_sparse_signals_are_left_out() -> None:
    sparse = Sparse(np.array([0, 0]), np.array([], np.int32), np.array([], np.float32), 10)
    assert rows.pack_signals({"tfidf": sparse}) is None


def test_numbers_that_json_lacks_come_back_as_nan() -> None:
    decision = Decision(Plan("a"), "routed", ("a", "b"), (True, False), objective=(1.0, -math.inf))
    back = rows._read_decision(rows._json(rows._decision(decision)), None)
    assert back is not None
    assert back.objective[0] == 1.0
    assert math.isnan(back.objective[1])


def test_numpy_scalars_are_taken() -> None:
    decision = Decision(Plan("a"), "routed", ("a",), (bool(np.True_),), quality=(np.float64(0.5),), seed=3)
    row = dict(zip(rows.COLUMNS, rows.encode(Trace("t", 0.0, "auto", decision), keep_text=False), strict=True))
    assert row["quality_estimate"] == 0.5


def test_a_signal_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        rows.pack_signals({"embedding": np.full(100, np.nan, np.float32)})


def test_later_steps_run_once_on_an_older_file() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    steps = {**MIGRATIONS, max(MIGRATIONS) + 1: "ALTER TABLE traces ADD COLUMN extra TEXT;"}
    assert migrate(connection, steps) == migrate(connection, steps) == max(steps)
    assert "extra" in [row[1] for row in connection.execute("PRAGMA table_info(traces)")]
    connection.close()
