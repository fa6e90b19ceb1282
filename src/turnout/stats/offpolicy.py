"""What a policy would have earned, from a log that another policy wrote.

Importance sampling: Horvitz and Thompson (1952); self-normalised: Swaminathan and Joachims, NeurIPS 2015;
doubly robust: Dudík, Langford and Li, ICML 2011. Every function gives one value per query, so that the same
cluster bootstrap serves all of them.

Shape letters: N queries, E experts. NaN in `scores_NE` marks what was not observed; NaN in `propensity_NE` (or None)
marks an outcome that was observed for certain, as in a full matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats


def importance_weights(
    choice_N: NDArray[np.integer[Any]], scores_NE: Floats, propensity_NE: Floats | None
) -> NDArray[np.float64]:
    """1 / propensity where the chosen expert's outcome was observed, else 0; shape (N,)."""
    rows = np.arange(len(choice_N))
    seen_N = np.isfinite(scores_NE[rows, choice_N])
    if propensity_NE is None:
        return np.asarray(seen_N, dtype=np.float64)
    propensity_N = propensity_NE[rows, choice_N]
    certain_N = np.where(np.isfinite(propensity_N), propensity_N, 1.0)
    return np.asarray(np.where(seen_N, 1.0 / certain_N, 0.0), dtype=np.float64)


def ips(choice_N: NDArray[np.integer[Any]], scores_NE: Floats, propensity_NE: Floats | None) -> NDArray[np.float64]:
    """Weighted scores, shape (N,); their mean is the value of choosing `choice_N`.

    Unbiased where every choice had a propensity above 0. Limits: its variance grows with 1 / propensity; look at
    `effective_sample_size(importance_weights(…))` before believing it.

    >>> ips(np.array([0, 0]), np.array([[1.0, np.nan], [np.nan, 1.0]]), np.array([[0.5, np.nan], [np.nan, 0.5]]))
    array([2., 0.])
    """
    scores_N = scores_NE[np.arange(len(choice_N)), choice_N]
    return importance_weights(choice_N, scores_NE, propensity_NE) * np.where(np.isfinite(scores_N), scores_N, 0.0)


def snips(choice_N: NDArray[np.integer[Any]], scores_NE: Floats, propensity_NE: Floats | None) -> NDArray[np.float64]:
    """`ips` divided by the mean weight: slightly biased, far less variance, and a mean within the scores' range.

    All NaN where the log holds no outcome of any choice.
    """
    mean_weight = importance_weights(choice_N, scores_NE, propensity_NE).mean()
    return ips(choice_N, scores_NE, propensity_NE) / (mean_weight if mean_weight > 0 else np.nan)


def doubly_robust(
    choice_N: NDArray[np.integer[Any]], scores_NE: Floats, propensity_NE: Floats | None, qhat_NE: Floats
) -> NDArray[np.float64]:
    """Prediction plus the weighted residual of what was observed, shape (N,).

    Consistent where either the propensities or the predictions are right. On a full matrix it is the score itself.
    `qhat_NE` must come from other folds than the row it is for, else the residuals are too small.

    >>> scores_NE = np.array([[1.0, np.nan], [np.nan, 1.0]])
    >>> doubly_robust(np.array([0, 0]), scores_NE, np.where(np.isnan(scores_NE), np.nan, 0.5), np.full((2, 2), 0.75))
    array([1.25, 0.75])
    """
    rows = np.arange(len(choice_N))
    scores_N, qhat_N = scores_NE[rows, choice_N], qhat_NE[rows, choice_N]
    residual_N = np.where(np.isfinite(scores_N), scores_N - qhat_N, 0.0)
    return np.asarray(qhat_N + importance_weights(choice_N, scores_NE, propensity_NE) * residual_N, dtype=np.float64)


def effective_sample_size(weights_N: Floats) -> float:
    """Kish's (Σw)² / Σw²: how many equally weighted queries tell as much.

    >>> effective_sample_size(np.array([1.0, 1.0, 0.0, 0.0]))
    2.0
    """
    squares = float(np.square(weights_N).sum())
    return float(np.sum(weights_N)) ** 2 / squares if squares > 0 else 0.0
