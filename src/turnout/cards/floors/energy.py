"""The free energy of all experts' scores."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from turnout.base import Number
from turnout.cards.floors.base import Evidence, Floor
from turnout.features import Floats

__all__ = ["Energy"]


class Energy(Floor):
    """T · log Σ exp(score / T): high where one expert's score is high, or many are.

    Source: Liu et al., "Energy-based Out-of-distribution Detection", 2020. Limits: meant for scores that are logits of
    a softmax; margins of one-against-rest machines add up to noise.

    >>> Energy().score(Evidence(np.array([[0.0, 0.0]]), {})).round(3).tolist()
    [0.693]
    """

    rules: ClassVar = {"temperature": Number(1e-3, 1e3)}

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature

    def _score(self, evidence: Evidence) -> Floats:
        scaled_NE = evidence.logits_NE / self.temperature
        top_N = scaled_NE.max(axis=1)
        return np.asarray(self.temperature * (top_N + np.log(np.exp(scaled_NE - top_N[:, None]).sum(axis=1))))
