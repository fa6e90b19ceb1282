"""The probability of the likeliest expert."""

from __future__ import annotations

import numpy as np

from turnout.cards.floors.base import Evidence, Floor
from turnout.features import Floats

__all__ = ["Softmax"]


class Softmax(Floor):
    """The largest softmax probability. Source: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and
    Out-of-Distribution Examples in Neural Networks", 2017. Limits: low too where two experts fit equally well.

    >>> Softmax().score(Evidence(np.array([[0.0, 0.0], [9.0, 0.0]]), {})).round(2).tolist()
    [0.5, 1.0]
    """

    def _score(self, evidence: Evidence) -> Floats:
        logit_NE = evidence.logits_NE - evidence.logits_NE.max(axis=1, keepdims=True)
        return np.asarray(1.0 / np.exp(logit_NE).sum(axis=1))
