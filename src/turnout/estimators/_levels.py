"""Ratings of any scale to expected scores: a line per expert, or one for all, by weighted least squares.

What ranks experts (a similarity, a Bradley–Terry strength, a contrastive logit) says nothing about how often they are
right; a policy that weighs quality against cost needs that. Shape letters: N queries, E experts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats

Scope = Literal["score", "rating"]
SCOPES = ("score", "rating")
PRIOR = 5.0  # queries without any slope, added to every line
LEAST = 0.01  # score per standard deviation of the ratings: what keeps one line for all from making ties


@dataclass(frozen=True, slots=True)
class Levels:
    """Lines `mean + slope · (rating − center)`, and what their standard errors need; every array has shape (E,).

    Scope "score" fits each expert its own line, so its mean is that of its scores. "rating" fits one line for all: it
    leaves every query's ranking of experts as the ratings have it. Slopes are never negative, nor 0 in the latter.
    """

    mean_E: Floats
    slope_E: Floats
    center_E: Floats
    noise_E: Floats
    size_E: Floats
    spread_E: Floats

    @classmethod
    def fit(cls, rating_NE: Floats, scores_NE: Floats, weights_NE: Floats, scope: str = "score") -> Self:
        """Scores without weight may be NaN; weights count by their effective sample size."""
        if scope == "rating":
            pooled = cls.fit(rating_NE.reshape(-1, 1), scores_NE.reshape(-1, 1), weights_NE.reshape(-1, 1))
            least_E = LEAST / np.sqrt(pooled.spread_E)
            pooled = replace(pooled, slope_E=np.maximum(pooled.slope_E, np.where(pooled.spread_E > 1e-9, least_E, 0.0)))
            return cls(*(np.repeat(part, rating_NE.shape[1]) for part in pooled.parts()))
        filled_NE = np.where(weights_NE > 0, scores_NE, 0.0)
        total_E = np.maximum(weights_NE.sum(axis=0), 1e-12)
        share_NE = weights_NE / total_E
        size_E = 1.0 / np.maximum((share_NE**2).sum(axis=0), 1e-12)
        mean_E, center_E = (share_NE * filled_NE).sum(axis=0), (share_NE * rating_NE).sum(axis=0)
        away_NE = rating_NE - center_E
        spread_E = (share_NE * away_NE**2).sum(axis=0)
        shared_E = (share_NE * away_NE * (filled_NE - mean_E)).sum(axis=0)
        slope_E = np.maximum(shared_E * size_E / np.maximum((size_E + PRIOR) * spread_E, 1e-12), 0.0)
        left_NE = filled_NE - mean_E - slope_E * away_NE
        noise_E = np.maximum((share_NE * left_NE**2).sum(axis=0), 1e-6)
        return cls(mean_E, slope_E, center_E, noise_E, size_E, np.maximum(spread_E, 1e-12))

    def apply(self, rating_NE: Floats) -> tuple[Floats, Floats]:
        """Expected score in [0, 1] and its standard error, each (N, E).

        >>> rating_NE = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> lines = Levels.fit(rating_NE, np.array([[0.2], [0.4], [0.6], [0.8]]), np.ones((4, 1)))
        >>> lines.apply(np.array([[1.5]]))[0].round(3).tolist()
        [[0.5]]
        """
        away_NE = rating_NE - self.center_E
        mean_NE = np.clip(self.mean_E + self.slope_E * away_NE, 0.0, 1.0)
        moved_NE = np.where(self.slope_E > 0, np.minimum(away_NE**2 / self.spread_E, 1e6), 0.0)
        return mean_NE, np.sqrt(self.noise_E * (1.0 + moved_NE) / (self.size_E + PRIOR))

    def parts(self) -> tuple[Floats, ...]:
        """The arrays, in the order of the constructor: what an estimator keeps as learned state."""
        return self.mean_E, self.slope_E, self.center_E, self.noise_E, self.size_E, self.spread_E

    def newcomer(self, rating_M1: Floats, scores_M1: Floats, scope: str) -> Levels:
        """One expert more: with a line of its own, or with the one that all share."""
        shared = scope == "rating"
        line = self.take(np.zeros(1, np.intp)) if shared else Levels.fit(rating_M1, scores_M1, np.ones_like(scores_M1))
        return Levels(*(np.concatenate(pair) for pair in zip(self.parts(), line.parts(), strict=True)))

    def take(self, columns: NDArray[np.intp]) -> Levels:
        """The chosen experts, in the given order."""
        return Levels(*(part[columns] for part in self.parts()))
