"""Folds that keep groups whole."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray


def group_folds(groups_N: NDArray[np.integer[Any]], k: int, seed: int) -> NDArray[np.int64]:
    """The fold (0 … k − 1) of each of N rows; rows of one group share a fold, and fold sizes are balanced.

    Groups are shuffled, then the largest first go to the smallest fold so far (longest processing time first,
    Graham 1969). Raises ValueError where there are fewer groups than folds.

    Limits: one group larger than N / k makes the folds uneven, which nothing can mend without splitting it.

    >>> fold = group_folds(np.array([0, 0, 1, 2, 2, 3]), k=3, seed=0)
    >>> bool(fold[0] == fold[1] and fold[3] == fold[4]), np.bincount(fold).tolist()
    (True, [2, 2, 2])
    """
    unique_G, group_N, size_G = np.unique(groups_N, return_inverse=True, return_counts=True)
    if k < 2 or len(unique_G) < k:
        raise ValueError(f"k must be in [2, number of groups], got k={k} for {len(unique_G)} groups")
    shuffled_G = np.random.default_rng(seed).permutation(len(unique_G))
    order_G = shuffled_G[np.argsort(-size_G[shuffled_G], kind="stable")]
    fold_G = np.empty(len(unique_G), dtype=np.int64)
    heap = [(0, fold) for fold in range(k)]
    for group in order_G.tolist():
        rows, fold = heap[0]
        fold_G[group] = fold
        heapq.heapreplace(heap, (rows + int(size_G[group]), fold))
    return np.asarray(fold_G[group_N.reshape(-1)], dtype=np.int64)
