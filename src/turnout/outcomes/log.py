"""OutcomeLog: what is known about which expert does what well, as two tables.

Shape letters: N queries (rows of `queries`), E experts (in first-seen order), D features of a stored signal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from turnout.errors import LogError
from turnout.outcomes import files
from turnout.outcomes.schema import REPEATS, SIGNAL, check_outcomes, check_queries, nearest, row_name, split_long
from turnout.stats import group_folds, near_duplicates

Matrix = NDArray[np.floating[Any]]


class OutcomeLog:
    """query × expert → score in [0, 1] and optional measurements; full, or partial with propensities. Immutable.

    `queries` has `query_id`, and where known `prompt`, `task`, `signal.<name>` (lists) and columns of the user's own.
    `outcomes` has `query_id`, `expert`, `score`, and where known `cost` (US dollars), `prompt_tokens`,
    `completion_tokens`, `latency` (s), `energy` (J), `response`, `propensity` (in (0, 1]), `repeats` (a list of the
    scores of single runs, whose mean is `score`) and the user's own columns.
    A query may have no outcome; an outcome always has a query. Broken rules raise LogError.

    >>> log = OutcomeLog.from_arrays(["2+2?", "Capital of Peru?"], ["small", "large"], [[1.0, 1.0], [0.0, 1.0]])
    >>> log.experts, log.matrix().mean(axis=0).tolist(), log.is_full
    (('small', 'large'), [0.5, 1.0], True)
    """

    def __init__(self, queries: pl.DataFrame | None, outcomes: pl.DataFrame, *, where: str = "") -> None:
        """Check both tables; `queries` None takes prompt, task and signals from `outcomes`. `where` starts messages."""
        at_outcomes = where if queries is None else f"{where}outcomes: "
        outcomes = check_outcomes(outcomes, at_outcomes)
        queries = None if queries is None else check_queries(queries, f"{where}queries: ")
        self.queries, self.outcomes = split_long(queries, outcomes, at_outcomes)
        row_N = self.queries.select("query_id").with_row_index("row_N")
        rows = self.outcomes.select("query_id").join(row_N, on="query_id", how="left", maintain_order="left")["row_N"]
        if rows.null_count():
            at = int(rows.is_null().arg_max() or 0)
            raise LogError(f"{at_outcomes}{row_name(self.outcomes, at)}: this query_id is not among the queries")
        names = self.outcomes["expert"]
        self.experts: tuple[str, ...] = tuple(names.unique(maintain_order=True).to_list())
        self._query_at: NDArray[np.int64] = rows.cast(pl.Int64).to_numpy()
        codes = names.replace_strict(self.experts, list(range(len(self.experts))), return_dtype=pl.Int64)
        self._expert_at: NDArray[np.int64] = codes.to_numpy()

    @classmethod
    def read(cls, path: str | Path) -> OutcomeLog:
        """A folder with `outcomes.parquet` (and `queries.parquet`), or one long .parquet, .jsonl or .csv file."""
        queries, outcomes = files.read(Path(path))
        return cls(queries, outcomes, where=f"{path}: ")

    @classmethod
    def from_arrays(
        cls,
        prompts: Sequence[str | None] | None,
        experts: Sequence[str],
        scores_NE: Any,
        *,
        cost_NE: Any = None,
        propensity_NE: Any = None,
        tasks: Sequence[str | None] | None = None,
        query_ids: Sequence[str] | None = None,
        columns_NE: Mapping[str, Any] | None = None,
        signals: Mapping[str, Any] | None = None,
    ) -> OutcomeLog:
        """From matrices of shape (N, E), where a NaN score marks what was not observed.

        `columns_NE` holds further outcome columns by name; `signals` arrays of shape (N, D). Ids default to q0, q1, ….
        """
        scores_NE = np.asarray(scores_NE, dtype=np.float64)
        given = {"cost": cost_NE, "propensity": propensity_NE, **(columns_NE or {})}
        matrices = {name: np.asarray(matrix) for name, matrix in given.items() if matrix is not None}
        shape = (len(scores_NE), len(experts))
        for name, matrix in {"score": scores_NE, **matrices}.items():
            if matrix.shape != shape:
                raise LogError(f"{name!r} must have shape (N, E) = {shape}, got {matrix.shape}")
        ids = pl.Series("query_id", [f"q{i}" for i in range(shape[0])] if query_ids is None else list(query_ids))
        queries: dict[str, Any] = {"query_id": ids}
        for name, values in {"prompt": prompts, "task": tasks}.items():
            if values is not None:
                queries[name] = pl.Series(name, list(values), dtype=pl.String)
        for name, array in (signals or {}).items():
            queries[SIGNAL + name] = pl.Series(np.asarray(array).tolist(), dtype=pl.List(pl.Float32))
        lengths = {name: len(values) for name, values in queries.items()}
        if set(lengths.values()) != {shape[0]}:
            raise LogError(f"every query column needs {shape[0]} values, got {lengths}")
        at_n, at_e = np.nonzero(~np.isnan(scores_NE))
        outcomes = {"query_id": ids[at_n], "expert": pl.Series(list(experts), dtype=pl.String)[at_e]}
        numbers = {name: matrix[at_n, at_e] for name, matrix in {"score": scores_NE, **matrices}.items()}
        return cls(pl.DataFrame(queries), pl.DataFrame({**outcomes, **numbers}))

    def write(self, path: str | Path) -> None:
        """A folder (two Parquet files), or one long file for a path ending in .parquet, .jsonl or .csv."""
        files.write(self.queries, self.outcomes, Path(path))

    def __len__(self) -> int:
        return self.queries.height

    def __repr__(self) -> str:
        return f"OutcomeLog({len(self)} queries, {len(self.experts)} experts, {self.outcomes.height} outcomes)"

    @cached_property
    def query_ids(self) -> list[str]:
        """The N query ids."""
        return self.queries["query_id"].to_list()

    @cached_property
    def texts(self) -> list[str]:
        """The N prompts, "" where there is none."""
        return self.queries["prompt"].fill_null("").to_list() if "prompt" in self.queries.columns else [""] * len(self)

    @cached_property
    def tasks(self) -> list[str] | None:
        """The N task names, "" where one is missing; None where the log has none at all."""
        return self.queries["task"].fill_null("").to_list() if "task" in self.queries.columns else None

    @cached_property
    def has_text(self) -> bool:
        """Whether any query has a prompt."""
        return any(self.texts)

    def require_text(self) -> None:
        """Raise LogError where no query has a prompt."""
        if not self.has_text:
            raise LogError(f"column 'prompt' is missing or empty{nearest('prompt', self.queries.columns)}")

    def has(self, column: str) -> bool:
        """Whether some outcome has a value in `column`."""
        return column in self.outcomes.columns and self.outcomes[column].null_count() < self.outcomes.height

    def matrix(self, column: str = "score") -> NDArray[np.float64]:
        """A numeric outcome column as (N, E), NaN where missing. Raises LogError for a column that is not there."""
        if column not in self.outcomes.columns:
            raise LogError(f"column {column!r} is missing{nearest(column, self.outcomes.columns)}")
        if not self.outcomes[column].dtype.is_numeric():
            raise LogError(f"column {column!r} holds {self.outcomes[column].dtype}, not numbers")
        matrix_NE = np.full((len(self), len(self.experts)), np.nan)
        values = self.outcomes[column].cast(pl.Float64).fill_null(float("nan"))
        matrix_NE[self._query_at, self._expert_at] = values.to_numpy()
        return matrix_NE

    def signals(self) -> dict[str, NDArray[np.float32]]:
        """Stored signal values by name, each (N, D); a row is NaN where the query has none."""
        arrays = {}
        for name in self.queries.columns:
            column = self.queries[name]
            if name.startswith(SIGNAL) and column.null_count() < len(self):
                width = int(column.list.len().max() or 0)  # type: ignore[arg-type]
                array = np.full((len(self), width), np.nan, dtype=np.float32)
                array[column.is_not_null().to_numpy()] = column.drop_nulls().explode().to_numpy().reshape(-1, width)
                arrays[name.removeprefix(SIGNAL)] = array
        return arrays

    @property
    def is_full(self) -> bool:
        """Whether every expert was observed on every query."""
        return self.outcomes.height == len(self) * len(self.experts)

    @property
    def is_bandit(self) -> bool:
        """Whether it was logged by a policy: propensities are stored, and few (on average at most two) of several
        experts were observed per query."""
        return self.has("propensity") and not self.is_full and self.outcomes.height <= 2 * len(self)

    def groups(self) -> NDArray[np.int64]:
        """The near-duplicate group of each of N queries: character-5-gram Jaccard of at least 0.9, transitively closed.

        Without text, queries whose stored signals are equal share a group. A subset keeps the groups of the log that it
        was taken from, where those were computed.
        """
        return self._groups

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        if self.has_text or not self.signals():
            return near_duplicates(self.texts)
        rows_ND = np.concatenate(list(self.signals().values()), axis=1)
        known_N = np.isfinite(rows_ND).all(axis=1)
        keys = [
            row.tobytes() if known else str(n).encode()
            for n, (row, known) in enumerate(zip(rows_ND, known_N, strict=True))
        ]
        first: dict[bytes, int] = {}
        return np.unique([first.setdefault(key, n) for n, key in enumerate(keys)], return_inverse=True)[1]

    def select(self, index_N: Any) -> OutcomeLog:
        """The chosen queries in the given order, from row numbers (each at most once) or a mask; all experts stay."""
        index_N = np.asarray(index_N)
        index_N = np.flatnonzero(index_N) if index_N.dtype == bool else index_N.astype(np.int64)
        index_N = np.where(index_N < 0, index_N + len(self), index_N)
        if len(np.unique(index_N)) != len(index_N):
            raise ValueError("a query may be selected once only; weigh rows to repeat them")
        to_N = np.full(len(self), -1, dtype=np.int64)
        to_N[index_N] = np.arange(len(index_N))
        made = self._with(self.queries[index_N], to_N[self._query_at] >= 0)
        made._query_at = to_N[made._query_at]
        if "_groups" in self.__dict__:
            made.__dict__["_groups"] = np.unique(self._groups[index_N], return_inverse=True)[1]
        return made

    def only(self, experts: Sequence[str]) -> OutcomeLog:
        """The outcomes of the named experts, in the given order; every query stays."""
        unknown = [name for name in experts if name not in self.experts]
        if unknown or not experts or len(set(experts)) < len(experts):
            wrong = f"expert {unknown[0]!r} is not in the log" if unknown else f"each expert once, got {list(experts)}"
            raise LogError(f"{wrong}; it has: {', '.join(self.experts)}")
        to_E = np.array([list(experts).index(name) if name in experts else -1 for name in self.experts])
        made = self._with(self.queries, to_E[self._expert_at] >= 0)
        made.experts, made._expert_at = tuple(experts), to_E[made._expert_at]
        if "_groups" in self.__dict__:
            made.__dict__["_groups"] = self._groups
        return made

    def blended(self, column: str, weight: float = 1.0) -> OutcomeLog:
        """The log with `weight` of another score in [0, 1], as a judge's, and the rest of `score` in its place.

        Outcomes that the column says nothing of are left out, as two scales must not stand in one matrix. Raises
        LogError.

        >>> log = OutcomeLog.from_arrays(["a"], ["x", "y"], [[1, 0]], columns_NE={"judge_score": [[0.5, np.nan]]})
        >>> log.blended("judge_score", 0.5).matrix().tolist()
        [[0.75, nan]]
        """
        if not 0 <= weight <= 1:
            raise LogError(f"the weight of {column!r} must be in [0, 1], got {weight}")
        other_NE = self.matrix(column)
        found = other_NE[self._query_at, self._expert_at]
        seen = np.isfinite(found)
        if not seen.any() or found[seen].min() < 0 or found[seen].max() > 1:
            raise LogError(f"column {column!r} must hold scores in [0, 1] to stand beside `score`")
        made = self._with(self.queries, seen)
        score = pl.Series("score", (1 - weight) * made.outcomes["score"].to_numpy() + weight * found[seen])
        made.outcomes = made.outcomes.with_columns(score)
        if REPEATS in made.outcomes.columns and weight > 0:
            made.outcomes = made.outcomes.drop(REPEATS)  # they repeat the score alone
        if "_groups" in self.__dict__:
            made.__dict__["_groups"] = self._groups
        return made

    def split(self, fraction: float, seed: int) -> tuple[OutcomeLog, OutcomeLog]:
        """About `fraction` of the queries, and the rest; near-duplicates stay together, whole groups drawn at random.

        >>> log = OutcomeLog.from_arrays(["one thing", "another", "One  thing"], ["a"], [[1], [0], [1]])
        >>> first, rest = log.split(0.6, seed=0)
        >>> first.texts, rest.texts
        (['one thing', 'One  thing'], ['another'])
        """
        if not 0 < fraction < 1:
            raise ValueError(f"fraction must be in (0, 1), got {fraction}")
        groups_N = self.groups()
        size_G = np.bincount(groups_N)
        order_G = np.random.default_rng(seed).permutation(len(size_G))
        before_G = np.concatenate([[0], np.cumsum(size_G[order_G])[:-1]])
        first_G = np.zeros(len(size_G), dtype=bool)
        first_G[order_G] = before_G + size_G[order_G] / 2 <= fraction * len(self)
        first_N = first_G[groups_N]
        if first_N.all() or not first_N.any():
            raise LogError(f"{len(self)} queries in {len(size_G)} near-duplicate groups cannot be split at {fraction}")
        return self.select(first_N), self.select(~first_N)

    def folds(self, k: int, seed: int) -> NDArray[np.int64]:
        """The fold of each of N queries; near-duplicates share one."""
        return group_folds(self.groups(), k, seed)

    def fingerprint(self) -> str:
        """A short hash of query ids, prompts, experts and scores, the same in whatever order they are stored."""
        rows_N, columns_E = np.argsort(self.query_ids), np.argsort(self.experts)
        words = [part for n in rows_N.tolist() for part in (self.query_ids[n], self.texts[n])]
        digest = hashlib.sha256("\0".join((*words, *sorted(self.experts))).encode())
        digest.update(self.matrix()[rows_N][:, columns_E].tobytes())
        return digest.hexdigest()[:16]

    def _with(self, queries: pl.DataFrame, keep: NDArray[np.bool_]) -> OutcomeLog:
        """A copy over some outcomes; the rules hold already."""
        made = OutcomeLog.__new__(OutcomeLog)
        made.queries, made.outcomes, made.experts = queries, self.outcomes.filter(keep), self.experts
        made._query_at, made._expert_at = self._query_at[keep], self._expert_at[keep]
        return made
