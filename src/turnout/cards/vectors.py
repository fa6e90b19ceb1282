"""Unit vectors that come and go, and the nearest of them.

Up to `EXACT` of them every cosine is computed. Beyond, the signs of fixed random projections shortlist: Hamming
distances of 768 bits, then exact cosines of the `SHORTLIST` nearest. The projections do not depend on what is
stored, so a vector added later is found exactly as if it had been there from the start.

Source: Charikar, "Similarity estimation techniques from rounding algorithms", 2002.
Limits: the shortlist can miss a neighbour whose signs disagree; `benchmarks/bench_cards.py` prints how often.

Shape letters: C slots, D dimensions, B bits, W 64-bit words.
"""

from __future__ import annotations

from array import array
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT, SHORTLIST, BITS = 4096, 1024, 768
COARSE = 4  # words of sign bits that every vector is compared by, before the rest of them


class Vectors:
    """Rows of float32 in one growing matrix.

    >>> found = Vectors(2)
    >>> found.add(np.array([[1.0, 0.0], [0.6, 0.8]]))
    >>> found.cosines(np.array([0.0, 1.0])).round(1)
    array([0. , 0.8], dtype=float32)
    """

    def __init__(self, dimensions: int) -> None:
        self.size = 0
        self._rows_CD: NDArray[np.float32] = np.empty((16, dimensions), dtype=np.float32)
        self._signs_WC: NDArray[np.uint64] = np.empty((BITS // 64, 16), dtype=np.uint64)
        self._gone = array("q")

    @property
    def rows(self) -> NDArray[np.float32]:
        """What is stored, shape (C, D)."""
        return self._rows_CD[: self.size]

    def add(self, rows_ND: NDArray[np.floating[Any]]) -> None:
        """Append rows as the next slots."""
        end = self.size + len(rows_ND)
        if end > len(self._rows_CD):
            self._rows_CD = _grown(self._rows_CD, end)
            self._signs_WC = np.ascontiguousarray(_grown(self._signs_WC.T, end).T)
        self._rows_CD[self.size : end] = rows_ND
        self._signs_WC[:, self.size : end] = _signs(self._rows_CD[self.size : end]).T
        self.size = end

    def remove(self, slot: int) -> None:
        """Shortlist a slot no more; its row stays until the owner rebuilds."""
        self._gone.append(slot)

    def cosines(self, row_D: NDArray[np.floating[Any]], slots: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """Cosine to every slot, or to the given ones."""
        rows = self.rows if slots is None else self.rows[slots]
        return np.asarray(rows @ row_D.astype(np.float32))

    def near(self, row_D: NDArray[np.floating[Any]], count: int = 1) -> NDArray[np.intp] | None:
        """Slots worth an exact look where the `count` nearest are wanted; None means all of them."""
        if self.size <= EXACT or count > SHORTLIST:
            return None
        sign_W = _signs(row_D[None].astype(np.float32))[0]
        pairs = list(zip(self._signs_WC[:, : self.size], sign_W, strict=True))
        apart_C = np.zeros(self.size, dtype=np.uint16)
        for signs_C, sign in pairs[:COARSE]:
            apart_C += np.bitwise_count(signs_C ^ sign)
        apart_C[np.array(self._gone)] = BITS + 1
        first = _nearest(apart_C, 8 * SHORTLIST)
        apart_K = apart_C[first]
        for signs_C, sign in pairs[COARSE:]:
            apart_K += np.bitwise_count(signs_C[first] ^ sign)
        return first[_nearest(apart_K, SHORTLIST)]


def _nearest(apart_C: NDArray[np.uint16], count: int) -> NDArray[np.intp]:
    """Places of the `count` smallest distances, and of all that equal the last of them."""
    within = np.cumsum(np.bincount(apart_C))
    return np.flatnonzero(apart_C <= np.searchsorted(within, count))


@cache
def _projection(dimensions: int) -> NDArray[np.float32]:
    """Random directions of shape (D, B); the same in every process."""
    return np.random.default_rng(20260101).standard_normal((dimensions, BITS)).astype(np.float32)


def _signs(rows_ND: NDArray[np.float32]) -> NDArray[np.uint64]:
    packed = np.packbits(rows_ND @ _projection(rows_ND.shape[1]) > 0, axis=1)
    return np.ascontiguousarray(packed).view(np.uint64)


def _grown(rows: NDArray[Any], least: int) -> NDArray[Any]:
    grown = np.empty((max(2 * len(rows), least), rows.shape[1]), dtype=rows.dtype)
    grown[: len(rows)] = rows
    return grown
