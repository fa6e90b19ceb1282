"""What a floor is: a score per text that is low where no expert should take it.

Shape letters: N texts, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from turnout.base import Component
from turnout.features import FeatureMap, Floats


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of N texts: the score of every expert, and the signals."""

    logits_NE: Floats
    texts: FeatureMap


class Floor(Component):
    """Override `_score`, and `_fit` where something is learned of the utterances that belong to experts."""

    kind: ClassVar[str] = "floor"
    signals: tuple[str, ...] = ()

    def fit(self, texts: FeatureMap, expert_N: NDArray[np.integer[Any]]) -> Self:
        """Learn from utterances and the expert of each; none of them is out of scope."""
        self.check()
        self._fit(texts, np.asarray(expert_N, dtype=np.int64))
        return self

    def score(self, evidence: Evidence) -> Floats:
        """Shape (N,); larger means that some expert should take the text."""
        return self._score(evidence)

    def _fit(self, texts: FeatureMap, expert_N: NDArray[np.int64]) -> None: ...

    def _score(self, evidence: Evidence) -> Floats:
        raise NotImplementedError
