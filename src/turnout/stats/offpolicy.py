"""What a policy would have earned, from a log that another policy wrote.

Importance sampling: Horvitz and Thompson (1952); self-normalised: Swaminathan and Joachims, NeurIPS 2015;
doubly robust: Dudík, Langford and Li, ICML 2011. Every function gives one value per query, so that the same
cluster bootstrap serves all of them.

Shape letters: N queries, E experts. NaN in `scores_NE` marks what was not observed; NaN in `propensity_NE` (or None)
marks an outcome that was observed for certain, as in a full matrix.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats

Choice: TypeAlias = NDArray[Any]  # columns (N,) of integers, or chances (N, E) whose rows sum to 1


def chances(choice: Choice, experts: int) -> Floats:
    """The policy to be valued as the chance of each expert, shape (N, E).

    >>> chances(np.array([1, 0]), 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    if choice.ndim == 2:
        return np.asarray(choice, dtype=np.float64)
    return np.asarray(np.eye(experts)[choice])


def importance_weights(choice: Choice, scores_NE: Floats, propensity_NE: Floats | None) -> NDArray[np.float64]:
    """The policy's chance over the propensity of what was observed, summed over experts; shape (N,).

    For a certain choice: 1 / propensity where the chosen expert's outcome was observed, else 0.
    """
    return np.asarray(_weights(choice, scores_NE, propensity_NE).sum(axis=1))


def ips(choice: Choice, scores_NE: Floats, propensity_NE: Floats | None) -> NDArray[np.float64]:
    """Weighted scores, shape (N,); their mean is the value of the policy `choice`.

    Unbiased where every choice had a propensity above 0. Limits: its variance grows with 1 / propensity; look at
    `effective_sample_size(importance_weights(…))` before believing it.

    >>> ips(np.array([0, 0]), np.array([[1.0, np.nan], [np.nan, 1.0]]), np.array([[0.5, np.nan], [np.nan, 0.5]]))
    array([2., 0.])
    """
    return np.asarray((_weights(choice, scores_NE, propensity_NE) * np.nan_to_num(scores_NE)).sum(axis=1))


def snips(choice: Choice, scores_NE: Floats, propensity_NE: Floats | None) -> NDArray[np.float64]:
    """`ips` divided by the mean weight: slightly biased, far less variance, and a mean within the scores' range.

    All NaN where the log holds no outcome of any choice.
    """
    mean_weight = importance_weights(choice, scores_NE, propensity_NE).mean()
    return ips(choice, scores_NE, propensity_NE) / (mean_weight if mean_weight > 0 else np.nan)


def doubly_robust(
    choice: Choice, scores_NE: Floats, propensity_NE: Floats | None, qhat_NE: Floats
) -> NDArray[np.float64]:
    """Prediction plus the weighted residual of what was observed, shape (N,).

    Consistent where either the propensities or the predictions are right. On a full matrix it is the score itself.
    `qhat_NE` must come from other folds than the row it is for, else the residuals are too small.

    >>> scores_NE = np.array([[1.0, np.nan], [np.nan, 1.0]])
    >>> doubly_robust(np.array([0, 0]), scores_NE, np.where(np.isnan(scores_NE), np.nan, 0.5), np.full((2, 2), 0.75))
    array([1.25, 0.75])
    """
    residual_NE = np.where(np.isfinite(scores_NE), scores_NE - qhat_NE, 0.0)
    weighted_N = (_weights(choice, scores_NE, propensity_NE) * residual_NE).sum(axis=1)
    return np.asarray((chances(choice, scores_NE.shape[1]) * qhat_NE).sum(axis=1) + weighted_N)


def _weights(choice: Choice, scores_NE: Floats, propensity_NE: Floats | None) -> Floats:
    """Chance over propensity where an outcome was observed, else 0; shape (N, E)."""
    seen_NE = np.where(np.isfinite(scores_NE), chances(choice, scores_NE.shape[1]), 0.0)
    if propensity_NE is None:
        return seen_NE
    return np.asarray(seen_NE / np.where(np.isfinite(propensity_NE), propensity_NE, 1.0))


def effective_sample_size(weights_N: Floats) -> float:
    """Kish's (Σw)² / Σw²: how many equally weighted queries tell as much.

    >>> effective_sample_size(np.array([1.0, 1.0, 0.0, 0.0]))
    2.0
    """
    squares = float(np.square(weights_N).sum())
    return float(np.sum(weights_N)) ** 2 / squares if squares > 0 else 0.0
