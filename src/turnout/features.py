"""What signals hand to estimators: a dense array, or sparse rows that numpy alone can score.

Shape letters: N rows (queries), D columns (features), E experts, Z stored values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]


def unit(x_ND: Floats) -> NDArray[np.float32]:
    """Rows of length one, float32; a row of zeros stays one.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).round(2).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    length_N = np.sqrt(np.vecdot(x_ND, x_ND))
    return np.asarray(x_ND / np.maximum(length_N, 1e-12)[:, None], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Sparse:
    """Compressed sparse rows: row n holds `data[indptr[n]:indptr[n+1]]` at columns `indices[…]`."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.columns

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __matmul__(self, weights_DE: Floats) -> Floats:
        """Rows times a dense matrix, touching only the stored values.

        >>> rows = Sparse(np.array([0, 1, 1]), np.array([2], np.int32), np.array([3.0], np.float32), 4)
        >>> (rows @ np.arange(4.0)[:, None]).ravel().tolist()
        [6.0, 0.0]
        """
        return self.moments(weights_DE)[:, 0]

    def moments(self, weights_DE: Floats) -> Floats:
        """Rows times a dense matrix, and rows of squared values times it, from one gathering: shape (N, 2, E)."""
        out_N2E = np.empty((len(self), 2, weights_DE.shape[1]), np.result_type(self.data, weights_DE))
        for n, (start, end) in enumerate(pairwise(self.indptr.tolist())):
            data_Z, taken_ZE = self.data[start:end], weights_DE.take(self.indices[start:end], axis=0)
            np.matmul(data_Z, taken_ZE, out=out_N2E[n, 0])
            np.matmul(data_Z * data_Z, taken_ZE, out=out_N2E[n, 1])
        return out_N2E

    def rows(self, index_N: NDArray[np.integer[Any]]) -> Sparse:
        """The chosen rows, in the given order."""
        lengths = np.diff(self.indptr)[index_N]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        starts = np.repeat(self.indptr[:-1][index_N] - indptr[:-1], lengths)
        take = starts + np.arange(indptr[-1])
        return Sparse(indptr, self.indices[take], self.data[take], self.columns)

    def toarray(self) -> Floats:
        """The dense (N, D) array."""
        dense_ND = np.zeros(self.shape, dtype=np.float32)
        dense_ND[np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices] = self.data
        return dense_ND


Features: TypeAlias = Floats | Sparse
FeatureMap: TypeAlias = Mapping[str, Features]


def take(features: FeatureMap, index_N: NDArray[np.integer[Any]]) -> dict[str, Features]:
    """The chosen rows of every signal."""
    return {name: f.rows(index_N) if isinstance(f, Sparse) else f[index_N] for name, f in features.items()}


def clip(text: str, each: int = 1000) -> str:
    """The first and last `each` characters, which is all that text signals read.

    >>> clip("abcdef", each=2)
    'ab\\nef'
    """
    return text if len(text) <= 2 * each else text[:each] + "\n" + text[-each:]


def n_rows(features: FeatureMap) -> int:
    """The number of queries; every signal has as many rows."""
    return len(next(iter(features.values())))


def check_rows(features: FeatureMap, wanted: Sequence[str], rows: int | None = None) -> None:
    """Raise ValueError where a wanted signal is missing or has another number of rows."""
    for name in wanted:
        if name not in features:
            raise ValueError(f"signal {name!r} is missing; got {', '.join(features) or 'none'}")
        if rows is not None and len(features[name]) != rows:
            raise ValueError(f"signal {name!r} has {len(features[name])} rows, expected {rows}")
