"""Tables: the mean score per cell and expert, shrunk to the expert's mean. Shared by the estimators that partition.

Shape letters: N queries, E experts, K cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Features, Floats, Sparse


class CellTable(Estimator):
    """A partition of one dense signal and a table over it. Override `_partition` (fit) and `_cell` (fit and predict).

    Subclasses have the parameters `signal` and `prior`.
    """

    signal: str
    prior: float
    mean_KE_: Floats
    se_KE_: Floats

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def _partition(self, x_ND: Floats, tasks: Sequence[str] | None) -> None:
        """Learn the cells."""
        raise NotImplementedError

    def _cell(self, x_ND: Floats) -> NDArray[np.intp]:
        """The cell of each row, shape (N,)."""
        raise NotImplementedError

    def _cells(self) -> int:
        raise NotImplementedError

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        x_ND = dense(features[self.signal], self.signal)
        self._partition(x_ND, tasks)
        self.mean_KE_, self.se_KE_ = self._table(x_ND, scores_NE, weights_NE)

    def _table(self, x_ND: Floats, scores_NE: Floats, weights_NE: Floats) -> tuple[Floats, Floats]:
        return cell_means(self._cell(x_ND), scores_NE, weights_NE, self._cells(), self.prior)

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        cell_N = self._cell(dense(features[self.signal], self.signal))
        return self.mean_KE_[cell_N], self.se_KE_[cell_N]

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        scores_N1 = scores_N[:, None]
        x_ND = dense(features[self.signal], self.signal)
        mean_K1, se_K1 = self._table(x_ND, scores_N1, np.isfinite(scores_N1).astype(float))
        self.mean_KE_, self.se_KE_ = np.hstack([self.mean_KE_, mean_K1]), np.hstack([self.se_KE_, se_K1])

    def _remove_expert(self, column: int) -> None:
        self.mean_KE_, self.se_KE_ = np.delete(self.mean_KE_, column, 1), np.delete(self.se_KE_, column, 1)


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
