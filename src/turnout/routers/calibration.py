"""Predicted to expected quality, one monotone map per expert, kept as a table so that a decision only interpolates.

Shape letters: N queries, E experts, G grid points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats
from turnout.stats.calibrators.base import Calibrator
from turnout.stats.calibrators.isotonic import Isotonic
from turnout.stats.calibrators.platt import Platt

Array = NDArray[np.float64]

POINTS = 257
_FEW, _MANY = 30, 1000  # rows: below the first nothing is learned, from the second on isotonic regression joins
_SHRINK = 5.0  # pseudo-rows that hold Platt's slope near 1


@dataclass(frozen=True)
class Calibration:
    """`table_EG[e, g]` is the expected score of expert e where the estimator says g / (G − 1); `slope_E` scales se.

    Platt scaling below 1,000 rows of an expert; from there on its average with isotonic regression, which follows
    the data where Platt's two parameters cannot, while Platt keeps the map strictly increasing (isotonic alone makes
    ties between queries, and a tie hides a preference). Fewer than 30 rows leave the estimate as it is.

    Limits: monotone per expert, so it cannot mend an estimator that ranks queries wrongly.
    """

    table_EG: Array
    slope_E: Array

    @classmethod
    def fit(cls, predicted_NE: Array, scores_NE: Array, weights_NE: Array | None = None) -> Calibration:
        """Learn from cross-fitted predictions; NaN scores are left out."""
        columns = range(scores_NE.shape[1])
        pairs = [
            _fit_one(predicted_NE[:, e], scores_NE[:, e], None if weights_NE is None else weights_NE[:, e])
            for e in columns
        ]
        return cls(np.stack([table for table, _ in pairs]), np.array([slope for _, slope in pairs]))

    @classmethod
    def identity(cls, experts: int) -> Calibration:
        """Estimates as they are."""
        return cls(np.tile(np.linspace(0.0, 1.0, POINTS), (experts, 1)), np.ones(experts))

    def apply(self, predicted_NE: Floats, se_NE: Floats) -> tuple[Array, Array]:
        """Calibrated quality in [0, 1] and its standard error, each (N, E).

        >>> Calibration.identity(2).apply(np.array([[0.25, 1.5]]), np.array([[0.1, 0.1]]))[0].tolist()
        [[0.25, 1.0]]
        """
        start_E, left_T, rise_T = self._flat
        place_NE = np.minimum(np.maximum(predicted_NE, 0.0), 1.0) * (POINTS - 1)
        step_NE = place_NE.astype(np.intp)
        at_NE = step_NE + start_E
        quality_NE: Array = left_T.take(at_NE) + (place_NE - step_NE) * rise_T.take(at_NE)
        return quality_NE, np.asarray(se_NE * self.slope_E, dtype=np.float64)

    @cached_property
    def _flat(self) -> tuple[NDArray[np.intp], Array, Array]:
        """Where each expert's grid starts in the flattened table, its values, and the rise to the next (last: 0)."""
        rise_EG = np.diff(self.table_EG, axis=1, append=self.table_EG[:, -1:])
        return np.arange(len(self.table_EG)) * POINTS, self.table_EG.ravel(), rise_EG.ravel()

    def append(self, other: Calibration) -> Calibration:
        """These experts and then the other's."""
        return Calibration(
            np.concatenate([self.table_EG, other.table_EG]), np.concatenate([self.slope_E, other.slope_E])
        )

    def without(self, column: int) -> Calibration:
        """All experts but one."""
        return Calibration(np.delete(self.table_EG, column, axis=0), np.delete(self.slope_E, column))


def _fit_one(predicted_N: Array, scores_N: Array, weights_N: Array | None) -> tuple[Array, float]:
    grid_G = np.linspace(0.0, 1.0, POINTS)
    rows = int(np.isfinite(scores_N).sum())
    if rows < _FEW:
        return grid_G, 1.0
    predicted_N = np.clip(predicted_N, 0.0, 1.0)
    kinds: list[Calibrator] = [Platt(ridge=_SHRINK), *([Isotonic()] if rows >= _MANY else [])]
    fitted = [kind.fit(predicted_N, scores_N, weights_N) for kind in kinds]
    table_G = np.mean([calibrator.apply(grid_G) for calibrator in fitted], axis=0)
    spread = predicted_N - predicted_N.mean()
    mapped_N = np.interp(predicted_N, grid_G, table_G)
    slope = float(spread @ mapped_N / (spread @ spread)) if spread @ spread > 1e-12 else 1.0
    return table_G, slope
