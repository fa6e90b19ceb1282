"""The largest score of any expert."""

from __future__ import annotations

import numpy as np

from turnout.cards.floors.base import Evidence, Floor
from turnout.features import Floats

__all__ = ["MaxScore"]


class MaxScore(Floor):
    """Nobody's score is high. Source: Vaze et al., "Open-Set Recognition: A Good Closed-Set Classifier is All You
    Need?", 2022 (the maximum logit). Limits: a classifier that was never shown a rejection can be sure of anything.

    >>> MaxScore().score(Evidence(np.array([[2.0, 0.5], [0.1, 0.3]]), {})).tolist()
    [2.0, 0.3]
    """

    def _score(self, evidence: Evidence) -> Floats:
        return np.asarray(evidence.logits_NE.max(axis=1))
