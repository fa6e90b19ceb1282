"""What a calibrator is: a monotone map from predictions to expected scores, learned from cross-fitted pairs."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from turnout.base import Component
from turnout.features import Floats


class Calibrator(Component):
    """Override `_fit` and `_apply`. Pairs with a NaN on either side are left out; NaN predictions stay NaN.

    Fit on cross-fitted predictions: in-sample ones look better calibrated than they are.
    """

    kind: ClassVar[str] = "calibrator"

    def fit(self, predicted_N: Floats, scores_N: Floats, weights_N: Floats | None = None) -> Self:
        """Learn from N pairs; scores in [0, 1], weights at least 0. Raises ValueError where no pair is finite."""
        self.check()
        predicted_N, scores_N = (np.asarray(a, dtype=np.float64).reshape(-1) for a in (predicted_N, scores_N))
        weights_N = np.ones(len(scores_N)) if weights_N is None else np.asarray(weights_N, np.float64).reshape(-1)
        if not len(predicted_N) == len(scores_N) == len(weights_N):
            raise ValueError(f"lengths differ: {len(predicted_N)}, {len(scores_N)}, {len(weights_N)}")
        use_N = np.isfinite(predicted_N) & np.isfinite(scores_N) & (weights_N > 0)
        if not use_N.any():
            raise ValueError("no finite pair of prediction and score to fit")
        self._fit(predicted_N[use_N], scores_N[use_N], weights_N[use_N])
        return self

    def apply(self, predicted: Floats) -> NDArray[np.float64]:
        """Calibrated values in [0, 1], in the shape of `predicted`."""
        self.require_fitted()
        predicted = np.asarray(predicted, dtype=np.float64)
        applied = np.clip(self._apply(np.where(np.isfinite(predicted), predicted, 0.0)), 0.0, 1.0)
        return np.asarray(np.where(np.isnan(predicted), np.nan, applied), dtype=np.float64)

    def _fit(self, predicted_N: Floats, scores_N: Floats, weights_N: Floats) -> None:
        raise NotImplementedError

    def _apply(self, predicted: Floats) -> Floats:
        raise NotImplementedError


def expected_calibration_error(predicted: NDArray[Any], scores: NDArray[Any], bins: int = 10) -> float:
    """Mean over pairs of |mean prediction − mean score| in the pair's bin of predictions; NaN pairs are ignored.

    Equal-width bins on [0, 1] (Naeini et al., AAAI 2015). NaN where no pair is finite. Limits: it is biased upwards on
    small samples, and 0 for any constant predictor of the mean.

    >>> expected_calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 0.0]))
    0.25
    """
    predicted, scores = (np.asarray(a, dtype=np.float64).reshape(-1) for a in (predicted, scores))
    use = np.isfinite(predicted) & np.isfinite(scores)
    if not use.any():
        return float("nan")
    at = np.clip((predicted[use] * bins).astype(np.int64), 0, bins - 1)
    gaps = np.bincount(at, weights=predicted[use] - scores[use], minlength=bins)
    return float(np.abs(gaps).sum() / use.sum())
