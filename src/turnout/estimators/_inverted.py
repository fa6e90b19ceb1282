"""An inverted file: rows of a large log by their nearest centre, so that a query looks at the closest cells alone.

Source: inverted files with a coarse quantiser, Sivic and Zisserman (ICCV 2003), Jégou et al. (2011).
Shape letters: M rows, D columns, C cells, P probed cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats

SAMPLE_PER_CELL = 32  # rows per cell that the centres are learned from
CHUNK = 16_384  # rows given their cell at once


def centers(x_MD: Floats, seed: int = 0) -> Floats:
    """About 2·√M centres, learned from a sample by mini-batch k-means; float32 (C, D)."""
    from sklearn.cluster import MiniBatchKMeans

    count = max(2, int(2.0 * np.sqrt(len(x_MD))))
    rng = np.random.default_rng(seed)
    taken = rng.permutation(len(x_MD))[: SAMPLE_PER_CELL * count]
    found = MiniBatchKMeans(count, batch_size=4096, n_init=1, max_iter=20, random_state=seed, init="random")
    return np.asarray(found.fit(x_MD[taken]).cluster_centers_, dtype=np.float32)


def cells(x_MD: Floats, center_CD: Floats) -> NDArray[np.int32]:
    """The nearest centre of each row, shape (M,)."""
    half_C = 0.5 * (center_CD**2).sum(axis=1)
    found_M = np.empty(len(x_MD), dtype=np.int32)
    for start in range(0, len(x_MD), CHUNK):
        part = slice(start, start + CHUNK)
        found_M[part] = (x_MD[part] @ center_CD.T - half_C).argmax(axis=1)
    return found_M


@dataclass(frozen=True, slots=True)
class Inverted:
    """Rows sorted by cell: `row_M` their numbers, `x_MD` their values in that order, `start_C1` where cells begin."""

    center_CD: Floats
    half_C: Floats
    row_M: NDArray[np.intp]
    x_MD: Floats
    start_C1: NDArray[np.intp]

    @classmethod
    def of(cls, x_MD: Floats, center_CD: Floats, cell_M: NDArray[np.int32]) -> Inverted:
        """From rows and their cells."""
        row_M = np.argsort(cell_M, kind="stable")
        counts_C = np.bincount(cell_M, minlength=len(center_CD))
        start_C1 = np.concatenate([[0], np.cumsum(counts_C)])
        return cls(center_CD, 0.5 * (center_CD**2).sum(axis=1), row_M, np.ascontiguousarray(x_MD[row_M]), start_C1)

    def near(self, x_D: Floats, wanted: int, probes: int) -> NDArray[np.intp]:
        """Numbers of the `wanted` rows of largest inner product in the `probes` nearest cells, in no order."""
        closeness_C = self.center_CD @ x_D - self.half_C
        kept = min(probes, len(closeness_C))
        cell_P = np.argpartition(closeness_C, len(closeness_C) - kept)[len(closeness_C) - kept :]
        spans = [(int(self.start_C1[c]), int(self.start_C1[c + 1])) for c in np.sort(cell_P)]
        similar = np.concatenate([self.x_MD[a:b] @ x_D for a, b in spans])
        rows = np.concatenate([self.row_M[a:b] for a, b in spans])
        return rows if len(rows) <= wanted else rows[np.argpartition(similar, len(rows) - wanted)[-wanted:]]
