"""Sets of experts that hold the right one with a stated probability.

Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; split conformal prediction as in
Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction", 2021.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ParameterError
from turnout.features import Floats


def slack(scores_NE: Floats, expert_N: NDArray[np.integer[Any]], coverage: float) -> float:
    """δ such that {a : s_a ≥ s_max − δ} holds the right expert with probability `coverage` or more.

    That is over texts exchangeable with the N calibration texts, which must not have fitted the scores. δ is infinite
    (every expert) where N is too small for the coverage asked.

    >>> scores = np.array([[3.0, 1.0], [2.0, 2.5], [1.0, 0.0], [0.0, 4.0]])
    >>> slack(scores, np.array([0, 0, 0, 1]), 0.8)
    0.5
    """
    if not 0.0 < coverage < 1.0:
        raise ParameterError(f"`coverage` must be a number in (0, 1), got {coverage!r}")
    short_N = np.sort(scores_NE.max(axis=1) - scores_NE[np.arange(len(expert_N)), expert_N])
    place = math.ceil(round((len(short_N) + 1) * coverage, 9))
    return float(short_N[place - 1]) if place <= len(short_N) else math.inf


def lowest(scores_N: Floats, coverage: float) -> float:
    """The floor that at least `coverage` of texts exchangeable with these reach; −inf where there are too few."""
    if not 0.0 < coverage < 1.0:
        raise ParameterError(f"`coverage` must be a number in (0, 1), got {coverage!r}")
    place = math.floor(round((len(scores_N) + 1) * (1.0 - coverage), 9))
    return float(np.sort(scores_N)[place - 1]) if place >= 1 else -math.inf
