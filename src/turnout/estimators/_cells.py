"""Tables: the mean score per cell and expert, shrunk to the expert's mean. Shared by the estimators that partition.

Shape letters: N queries, E experts, K cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.estimators.base import weighted_mean
from turnout.features import Features, Floats, Sparse


def cell_means(
    cell_N: NDArray[np.integer[Any]], scores_NE: Floats, weights_NE: Floats, cells: int, prior: float
) -> tuple[Floats, Floats]:
    """Mean and its standard error per cell and expert, each (K, E); `prior` queries at the expert's mean are added.

    Weights count by their effective sample size, so that 1 / propensity does not outweigh the prior.

    >>> means_KE, se_KE = cell_means(np.array([0, 0, 1]), np.array([[1.0], [1.0], [0.0]]), np.ones((3, 1)), 2, 1.0)
    >>> means_KE.round(3).tolist()
    [[0.889], [0.333]]
    """
    filled_NE = np.where(np.isfinite(scores_NE), scores_NE, 0.0)
    overall_E, _ = weighted_mean(scores_NE, weights_NE)
    total_KE = _sums(cell_N, weights_NE, cells)
    safe_KE = np.maximum(total_KE, 1e-12)
    effective_KE = total_KE**2 / np.maximum(_sums(cell_N, weights_NE**2, cells), 1e-12)
    raw_KE = np.where(total_KE > 0, _sums(cell_N, weights_NE * filled_NE, cells) / safe_KE, overall_E)
    spread_KE = _sums(cell_N, weights_NE * (filled_NE - raw_KE[cell_N]) ** 2, cells) / safe_KE
    spread_E, _ = weighted_mean((filled_NE - overall_E) ** 2, weights_NE)
    floor = prior if prior > 0 else 1e-9
    mean_KE = (effective_KE * raw_KE + floor * overall_E) / (effective_KE + floor)
    # one extra query of the expert's own spread keeps a cell of equal scores from claiming certainty
    variance_KE = (effective_KE * spread_KE + max(prior, 1.0) * spread_E) / (effective_KE + max(prior, 1.0))
    return mean_KE, np.sqrt(variance_KE / np.maximum(effective_KE + prior, 1.0))


def leave_one_out(cell_N: NDArray[np.integer[Any]], scores_NE: Floats, weights_NE: Floats, prior: float) -> Floats:
    """What `cell_means` would predict for every query without its own score (importance weights aside), (N, E)."""
    seen_NE = (weights_NE > 0).astype(np.float64)
    filled_NE = np.where(weights_NE > 0, scores_NE, 0.0)
    overall_E, _ = weighted_mean(scores_NE, weights_NE)
    cells = int(cell_N.max()) + 1
    count_NE = _sums(cell_N, seen_NE, cells)[cell_N] - seen_NE
    total_NE = _sums(cell_N, filled_NE, cells)[cell_N] - filled_NE
    return np.asarray((total_NE + prior * overall_E) / np.maximum(count_NE + prior, 1e-9))


def nearest(x_ND: Floats, centers_KD: Floats) -> NDArray[np.intp]:
    """The Euclidean-nearest centre of each row, shape (N,)."""
    # x·c - |c|²/2 orders centres as the distance does
    closeness_NK = x_ND @ centers_KD.T - 0.5 * (centers_KD**2).sum(axis=1)
    return np.asarray(closeness_NK.argmax(axis=1), dtype=np.intp)


def dense(features: Features, signal: str) -> Floats:
    """The features as a contiguous float32 array; raises TypeError for a sparse signal."""
    if isinstance(features, Sparse):
        raise TypeError(f"signal {signal!r} is sparse; this estimator needs a dense one")
    return np.ascontiguousarray(features, dtype=np.float32)


def _sums(cell_N: NDArray[np.integer[Any]], values_NE: Floats, cells: int) -> Floats:
    out_KE = np.zeros((cells, values_NE.shape[1]))
    np.add.at(out_KE, cell_N, values_NE)
    return out_KE
