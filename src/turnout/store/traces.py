"""Traces in SQLite: one writer thread behind a bounded queue, so that no request ever waits for the disk."""

from __future__ import annotations

import logging
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from turnout.errors import RequestError, StateError
from turnout.store import rows as row_format
from turnout.store.migrations import migrate
from turnout.types import Trace

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

Keep: TypeAlias = Literal["none", "signals", "prompts"]

BATCH_ROWS = 200
GATHER_S = 0.025  # half of the 50 ms a killed process may lose; encoding and committing take the rest
PRUNE_EVERY_ROWS = 1000
PRUNE_AT_MOST = 5000  # rows per automatic pass, so that the queue behind it stays short
DAY_S = 86_400.0

log = logging.getLogger("turnout.traces")


def trace_file(home: Path) -> Path:
    """Where a home folder keeps its traces."""
    return home / "traces.sqlite"


class TraceStore:
    """Append-only traces. `put` never blocks and never fails; what cannot be kept is counted in `dropped`.

    A row is committed at most 50 ms after `put` (25 ms of gathering, or at 200 rows), and survives kill -9 from then
    on (WAL, synchronous=NORMAL; a power cut may lose the last commits, not the file). `keep` says whether signal
    values, or signal values and text, are stored. Several processes may open one file.

    Raises StateError where the file is newer than this version or not a trace store. A path that cannot be written is
    no error: rows are dropped, with one warning, until it can.

    Limits: the file grows to `max_mb` plus the write-ahead log (some MB); rows go oldest first.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        keep: Keep = "signals",
        max_days: float = 30.0,
        max_mb: float = 512.0,
        capacity: int = 10_000,
        capacity_mb: float = 64.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path, self.keep, self.max_days, self.max_mb = Path(path), keep, max_days, max_mb
        self.capacity, self.capacity_bytes, self.clock = capacity, int(capacity_mb * 1e6), clock
        self.written = self.dropped = 0
        self._pending_bytes, self._lock = 0, threading.Lock()
        self._warned: set[str] = set()
        self._queue: queue.SimpleQueue[Trace | _Job | None] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._unpruned = PRUNE_EVERY_ROWS
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        try:
            self._connection = connect(self.path)
        except (sqlite3.Error, OSError) as error:
            self._warn("unwritable", error)
        self._thread = threading.Thread(target=self._write_forever, name="turnout-traces", daemon=True)
        self._thread.start()

    def put(self, trace: Trace) -> bool:
        """Queue a finished trace, which must not change afterwards; False where it was dropped or nothing is kept."""
        if self.keep == "none" or self._closed:
            return False
        size = len(trace.prompt or "") + len(trace.response or "") if self.keep == "prompts" else 0
        waiting = self._queue.qsize()
        if waiting >= self.capacity or (size and self._pending_bytes + size > self.capacity_bytes):
            self._drop(1, "overflow", f"{waiting} traces wait to be written")
            return False
        if size:
            self._count_bytes(size)
        self._queue.put(trace)
        if waiting + 1 >= BATCH_ROWS:
            self._wake.set()
        return True

    def feedback(self, trace_id: str, score: float, label: str | None = None) -> None:
        """Attach an outcome in [0, 1] to a trace; the latest wins. Blocks for the write, so call it in a thread.

        Raises RequestError: 400 for a bad score, 404 for an unknown trace, 503 where the store cannot be written.
        """
        number = isinstance(score, (int, float)) and not isinstance(score, bool)
        if not number or not 0 <= score <= 1:
            raise RequestError(f"`score` must be a number in [0, 1], got {score!r}", param="score")

        def update(connection: sqlite3.Connection) -> int:
            changed = connection.execute(
                "UPDATE traces SET score = ?, label = ? WHERE id = ?", (float(score), row_format.text(label), trace_id)
            )
            return changed.rowcount

        if not self._submit(update):
            raise RequestError(
                f"unknown trace {trace_id!r}; it was never written, or pruned", status=404, param="trace"
            )

    def flush(self) -> None:
        """Wait until everything put so far is committed (or dropped)."""
        self._submit(None)

    def rows(
        self,
        *,
        limit: int | None = None,
        since: float | None = None,
        expert: str | None = None,
        scored: bool | None = None,
        newest_first: bool = False,
    ) -> Iterator[Trace]:
        """Traces in order of arrival; `since` in seconds since the epoch."""
        conditions = {
            "time >= ?": since,
            "expert = ?": expert,
            "(score IS NOT NULL) = ?": None if scored is None else int(scored),
        }
        chosen = {text: value for text, value in conditions.items() if value is not None}
        where = f"WHERE {' AND '.join(chosen)}" if chosen else ""
        order = "DESC" if newest_first else "ASC"
        query = f"SELECT * FROM traces {where} ORDER BY number {order} LIMIT ?"
        with closing(self._reader()) as reader:
            for row in reader.execute(query, (*chosen.values(), -1 if limit is None else limit)):
                yield row_format.decode(row)

    def get(self, trace_id: str) -> Trace:
        """One trace by its id or an unambiguous beginning of it. Raises RequestError (404)."""
        with closing(self._reader()) as reader:
            query = "SELECT * FROM traces WHERE substr(id, 1, ?) = ? ORDER BY number LIMIT 2"
            found = reader.execute(query, (len(trace_id), trace_id)).fetchall()
        if len(found) == 1 or (found and found[0]["id"] == trace_id):
            return row_format.decode(found[0])
        problem = "several traces begin with" if found else "unknown trace"
        raise RequestError(f"{problem} {trace_id!r}", status=404, param="trace")

    def __len__(self) -> int:
        return self.count()

    def count(self, since: float | None = None) -> int:
        """How many traces there are, from a time on (seconds since the epoch) if one is given."""
        with closing(self._reader()) as reader:
            query = "SELECT count(*) FROM traces WHERE time >= ?"
            return int(reader.execute(query, (-math.inf if since is None else since,)).fetchone()[0])

    def prune(self, *, max_days: float | None = None, max_mb: float | None = None) -> int:
        """Delete what is older or more than allowed, oldest first, and shrink the file; the number of rows deleted."""
        days = self.max_days if max_days is None else max_days
        size = self.max_mb if max_mb is None else max_mb
        return int(self._submit(lambda connection: prune(connection, self.clock() - days * DAY_S, size * 1e6)))

    def export(self, path: Path | str, *, since: float | None = None) -> OutcomeLog:
        """Write the traces that have a score as an outcome log (a folder) and return it. Raises LogError."""
        from turnout.store.export import export

        return export(self.rows(since=since, scored=True), Path(path))

    def close(self) -> None:
        """Commit what waits and stop the writer."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._wake.set()
            self._thread.join()
            if self._connection is not None:
                self._connection.close()

    def __enter__(self) -> TraceStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _reader(self) -> sqlite3.Connection:
        if not self._closed:
            self.flush()
        if not self.path.is_file():
            raise StateError(f"no traces at {self.path}")
        reader = sqlite3.connect(self.path, timeout=5.0, isolation_level=None)
        reader.row_factory = sqlite3.Row
        return reader

    def _submit(self, action: Callable[[sqlite3.Connection], Any] | None) -> Any:
        """Run on the writer thread, after all that was put before."""
        if self._closed:
            raise RequestError("the trace store is closed", status=503, type="server_error")
        job = _Job(action)
        self._queue.put(job)
        self._wake.set()
        return job.result.result()

    def _write_forever(self) -> None:
        while True:
            first = self._queue.get()
            self._wake.wait(GATHER_S)
            self._wake.clear()
            batch = [first]
            while not self._queue.empty():
                batch.append(self._queue.get())
            traces = [item for item in batch if isinstance(item, Trace)]
            for start in range(0, len(traces), BATCH_ROWS):
                self._write(traces[start : start + BATCH_ROWS])
            for job in batch:
                if isinstance(job, _Job):
                    self._run(job)
            if None in batch:
                return

    def _write(self, traces: list[Trace]) -> None:
        encoded = [row for row in map(self._encode, traces) if row is not None]
        try:
            connection = self._open()
            with _transaction(connection):
                connection.executemany(row_format.INSERT, encoded)
        except (sqlite3.Error, OSError, StateError) as error:
            self._drop(len(encoded), "unwritable", error)
            return
        self.written += len(encoded)
        self._unpruned += len(encoded)
        if "unwritable" in self._warned:
            self._warned.discard("unwritable")
            log.warning("traces are written again to %s; %d were dropped", self.path, self.dropped)
        if self._unpruned >= PRUNE_EVERY_ROWS:
            self._prune_some(connection)

    def _encode(self, trace: Trace) -> tuple[Any, ...] | None:
        if self.keep == "prompts":
            self._count_bytes(-len(trace.prompt or "") - len(trace.response or ""))
        try:
            return row_format.encode(trace, keep_text=self.keep == "prompts")
        except (TypeError, ValueError, OverflowError) as error:
            self._drop(1, "unencodable", error)
            return None

    def _run(self, job: _Job) -> None:
        try:
            value = job.action(self._open()) if job.action else None
        except (sqlite3.Error, OSError, StateError) as error:
            problem = RequestError(f"cannot write {self.path}: {error}", status=503, type="server_error")
            job.result.set_exception(problem)
        except (ArithmeticError, TypeError, ValueError) as error:  # the caller's values, not the writer's trouble
            job.result.set_exception(error)
        else:
            job.result.set_result(value)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self.path)
        return self._connection

    def _prune_some(self, connection: sqlite3.Connection) -> None:
        self._unpruned = 0
        try:
            prune(connection, self.clock() - self.max_days * DAY_S, self.max_mb * 1e6, at_most=PRUNE_AT_MOST)
        except sqlite3.Error as error:
            log.warning("cannot prune %s: %s", self.path, error)

    def _count_bytes(self, change: int) -> None:
        with self._lock:
            self._pending_bytes += change

    def _drop(self, count: int, kind: str, why: object) -> None:
        with self._lock:
            self.dropped += count
        self._warn(kind, why)

    def _warn(self, kind: str, why: object) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning("traces are being dropped (%s): %s: %s", kind, self.path, why)


class _Job:
    def __init__(self, action: Callable[[sqlite3.Connection], Any] | None) -> None:
        self.action = action
        self.result: Future[Any] = Future()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN … COMMIT, or ROLLBACK; sqlite3's own context manager would leave out the BEGIN."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an up-to-date store, made where it is missing. Raises StateError, sqlite3.Error or OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 16000000")
        migrate(connection)
    except sqlite3.OperationalError:
        connection.close()
        raise
    except (sqlite3.DatabaseError, StateError) as error:
        connection.close()
        raise StateError(f"{path}: {error}") from error
    return connection


def prune(connection: sqlite3.Connection, before: float, max_bytes: float, *, at_most: int = -1) -> int:
    """Delete rows from before a time (seconds since the epoch) and, oldest first, what exceeds `max_bytes`."""
    doomed = "DELETE FROM traces WHERE number IN (SELECT number FROM traces {} ORDER BY number LIMIT ?)"
    with _transaction(connection):
        deleted = connection.execute(doomed.format("WHERE time < ?"), (before, at_most)).rowcount
        used, rows = _used_bytes(connection), int(connection.execute("SELECT count(*) FROM traces").fetchone()[0])
        if used > max_bytes and rows:
            excess = min(rows, math.ceil((used - max_bytes) * rows / used) + rows // 100)
            limit = excess if at_most < 0 else min(excess, at_most)
            deleted += connection.execute(doomed.format(""), (limit,)).rowcount
    connection.executescript("PRAGMA incremental_vacuum")  # execute() would step it once and free one page
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    return deleted


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
