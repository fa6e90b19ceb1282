"""The trace store's schema, one numbered step at a time; `PRAGMA user_version` says which have run."""

from __future__ import annotations

import sqlite3

from turnout.errors import StateError

MIGRATIONS: dict[int, str] = {
    1: """
    CREATE TABLE traces (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        time REAL NOT NULL,
        requested TEXT NOT NULL,
        expert TEXT,
        reason TEXT,
        status INTEGER,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        cached_tokens INTEGER,
        cost REAL,
        cost_estimate REAL,
        quality_estimate REAL,
        propensity REAL,
        latency_s REAL,
        first_byte_s REAL,
        session TEXT,
        decision BLOB,
        signals BLOB,
        calls BLOB,
        versions BLOB,
        prompt TEXT,
        response TEXT,
        score REAL,
        label TEXT
    );
    CREATE INDEX traces_time ON traces (time);
    """,
}


def migrate(connection: sqlite3.Connection, steps: dict[int, str] = MIGRATIONS) -> int:
    """Run the steps that are missing, each in one transaction; the version reached. Raises StateError.

    >>> migrate(sqlite3.connect(":memory:", isolation_level=None))
    1
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    newest = max(steps)
    if version > newest:
        raise StateError(f"the trace store has format {version}, this version of Turnout reads up to {newest}")
    for number in range(version + 1, newest + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {steps[number]} PRAGMA user_version = {number}; COMMIT;")
    return newest
