"""A small sample of logged queries that a router keeps, so that a decision can be explained by its neighbours.

Shape letters: M kept queries, D dimensions, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import Sparse

if TYPE_CHECKING:
    from turnout.routers.evidence import Evidence

EXCERPT = 160  # characters


@dataclass(frozen=True)
class Examples:
    """Vectors of one dense signal as int8 (`code_MD · scale_M1`), ids, excerpts, and scores (NaN where unknown)."""

    signal: str | None
    ids: tuple[str, ...]
    excerpts: tuple[str, ...]
    code_MD: NDArray[np.int8]
    scale_M1: NDArray[np.float32]
    scores_ME: NDArray[np.float32]

    @classmethod
    def draw(cls, evidence: Evidence, size: int, seed: int, keep_text: bool) -> Examples:
        """At most `size` queries at random; none where no dense signal is there to compare them by."""
        columns = {name: 0 if isinstance(f, Sparse) else f.shape[1] for name, f in evidence.features.items()}
        dense = [name for name, width in columns.items() if width]
        signal = "embedding" if "embedding" in dense else next(iter(dense), None)
        rows = len(evidence.query_ids) if signal else 0
        at = np.sort(np.random.default_rng(seed).permutation(rows)[:size])
        vectors = evidence.features[signal] if signal else None
        vectors_MD = np.zeros((0, 0)) if vectors is None or isinstance(vectors, Sparse) else vectors[at]
        code_MD, scale_M1 = _quantise(vectors_MD)
        return cls(
            signal=signal,
            ids=tuple(evidence.query_ids[n] for n in at),
            excerpts=tuple(evidence.texts[n][:EXCERPT] if keep_text else "" for n in at),
            code_MD=code_MD,
            scale_M1=scale_M1,
            scores_ME=evidence.scores_NE[at].astype(np.float32),
        )

    def nearest(self, vector_D: NDArray[Any], count: int) -> list[tuple[int, float]]:
        """Rows of the most similar queries with their cosine similarity, best first."""
        if not self.ids:
            return []
        vectors_MD = self.code_MD.astype(np.float32) * self.scale_M1
        norms_M = np.linalg.norm(vectors_MD, axis=1) * np.linalg.norm(vector_D)
        cosine_M = vectors_MD @ np.asarray(vector_D, dtype=np.float32) / np.maximum(norms_M, 1e-12)
        return [(int(m), float(cosine_M[m])) for m in np.argsort(-cosine_M, kind="stable")[:count]]

    def with_expert(self, scores_M: NDArray[Any] | None = None) -> Examples:
        """One more column of scores, unknown unless given."""
        new_M = np.full(len(self.ids), np.nan) if scores_M is None else scores_M
        return replace(self, scores_ME=np.column_stack([self.scores_ME, new_M.astype(np.float32)]))

    def without_expert(self, column: int) -> Examples:
        """One column of scores less."""
        return replace(self, scores_ME=np.delete(self.scores_ME, column, axis=1))

    def state(self) -> dict[str, Any]:
        """Plain values and arrays, for saving."""
        return {
            "signal": self.signal,
            "ids": list(self.ids),
            "excerpts": list(self.excerpts),
            "code": self.code_MD,
            "scale": self.scale_M1,
            "scores": self.scores_ME,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Examples:
        """The inverse of `state`."""
        return cls(
            state["signal"],
            tuple(state["ids"]),
            tuple(state["excerpts"]),
            state["code"],
            state["scale"],
            state["scores"],
        )


def _quantise(vectors_MD: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    if not vectors_MD.size:
        return np.zeros((len(vectors_MD), 0), dtype=np.int8), np.ones((len(vectors_MD), 1), dtype=np.float32)
    scale_M1 = (np.abs(vectors_MD).max(axis=1, keepdims=True) / 127.0).astype(np.float32)
    scale_M1[scale_M1 == 0] = 1.0
    return np.rint(vectors_MD / scale_M1).astype(np.int8), scale_M1
