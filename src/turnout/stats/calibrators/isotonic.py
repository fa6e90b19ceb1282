"""Isotonic regression by pooling adjacent violators."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats
from turnout.stats.calibrators.base import Calibrator

__all__ = ["Isotonic"]

MOST = 20_000  # distinct predictions


class Isotonic(Calibrator):
    """The non-decreasing step fit of least weighted squares, interpolated linearly between its knots.

    Source: Ayer et al. (1955); as a calibrator: Zadrozny and Elkan, KDD 2002. Outside the seen range the ends hold.

    Limits: it overfits below some hundred pairs (prefer `platt` there), and it makes ties, which a router then has to
    break by cost.

    >>> Isotonic().fit(np.array([0.1, 0.4, 0.6, 0.9]), np.array([0, 1, 0, 1])).apply(np.array([0.0, 0.5, 1.0])).tolist()
    [0.0, 0.5, 1.0]
    """

    name: ClassVar[str] = "isotonic"

    def _fit(self, predicted_N: Floats, scores_N: Floats, weights_N: Floats) -> None:
        x_K, at_N = np.unique(predicted_N, return_inverse=True)
        if len(x_K) > MOST:  # neighbours share a knot; finer steps are noise, and pooling is a Python loop
            place_K = np.arange(len(x_K)) * MOST // len(x_K)
            x_K = np.bincount(place_K, weights=x_K) / np.bincount(place_K)
            at_N = place_K[at_N]
        weight_K = np.bincount(at_N, weights=weights_N).astype(np.float64)
        mean_K = np.bincount(at_N, weights=weights_N * scores_N) / weight_K
        y_K = pool_adjacent_violators(mean_K, weight_K)
        inner_K = np.ones(len(x_K), dtype=bool)  # a knot between two equal neighbours says nothing
        inner_K[1:-1] = (y_K[1:-1] != y_K[:-2]) | (y_K[1:-1] != y_K[2:])
        self.x_, self.y_ = x_K[inner_K], np.clip(y_K[inner_K], 0.0, 1.0)

    def _apply(self, predicted: Floats) -> Floats:
        return np.interp(predicted, self.x_, self.y_)


def pool_adjacent_violators(y_K: Floats, weights_K: Floats) -> NDArray[np.float64]:
    """The non-decreasing values of least weighted squared distance to `y_K`, in one pass with a stack of blocks."""
    means: list[float] = []
    totals: list[float] = []
    counts: list[int] = []
    for value, total in zip(y_K.tolist(), weights_K.tolist(), strict=True):
        mean, weight, count = value, total, 1
        while means and means[-1] >= mean:
            merged = totals[-1] + weight
            mean = (means.pop() * totals[-1] + mean * weight) / merged
            totals.pop()
            weight, count = merged, count + counts.pop()
        means.append(mean)
        totals.append(weight)
        counts.append(count)
    return np.repeat(np.array(means, dtype=np.float64), counts)
