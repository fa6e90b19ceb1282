"""Experts rated by their results against one another, near the query if wished: Elo's ratings, fitted at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, OneOf, Rule
from turnout.estimators._cells import dense
from turnout.estimators._levels import SCOPES, Levels
from turnout.estimators._linear import even_weights
from turnout.estimators.base import Estimator
from turnout.features import FeatureMap, Floats, unit

__all__ = ["BradleyTerry"]

CHUNK, PAIRS = 256, 4_000_000  # queries, and pairs of experts over all of them, that are rated at once
SAMPLE = 1000  # logged queries, at most, that tell how ratings turn into scores
STEPS, FURTHEST = 6, 2.0  # Newton steps per query, and how far one may go
RIDGE = 0.01  # holds ratings near 0, in units of one comparison of weight one


class BradleyTerry(Estimator):
    """Ratings r with P(i beats j) = σ(r_i − r_j), fitted for every query to comparisons weighted by similarity.

    Two experts observed on one logged query are a comparison; i's part of the win is ½ + ½ (score_i − score_j). A
    comparison's weight in a query is `gamma` to the power of its cosine similarity over the largest one, so `gamma` 1
    gives one rating for all queries, Elo's. `level` "score" turns ratings into expected scores by a line per expert,
    "rating" by one line for all, which leaves the ratings' order as it is.

    Source: Bradley and Terry (1952); the weights are RouteLLM's sw-ranking (arXiv:2406.18665). A newcomer is rated
    against what the others are expected to score on its queries. Limits: time and memory grow with the log; a log with
    one outcome per query holds no comparison, and the estimator is then the experts' mean; where every expert answered
    every query, Elo's order is that of the mean scores.

    >>> x_ND, scores_NE = np.array([[1.0, 0], [0.9, 0.1], [0, 1.0], [0.1, 0.9]]), np.eye(2)[[0, 0, 1, 1]]
    >>> fitted = BradleyTerry("x", gamma=100.0).fit({"x": x_ND}, scores_NE)
    >>> fitted.predict({"x": np.array([[1.0, 0.1], [0.1, 1.0]])})[0].argmax(axis=1).tolist()
    [0, 1]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "signal": Of((str,)),
        "gamma": Number(1.0, 1e6),
        "level": OneOf(SCOPES),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(self, signal: str = "embedding", gamma: float = 10.0, level: str = "score", seed: int = 0) -> None:
        self.signal, self.gamma, self.level, self.seed = signal, gamma, level, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self.x_ND_ = self._unit(features)
        rooted_NE = np.sqrt(even_weights(weights_NE))  # a comparison counts by the geometric mean of its two weights
        self.root_NE_ = rooted_NE.astype(np.float32)
        self.score_NE_ = np.where(weights_NE > 0, scores_NE, 0.0).astype(np.float32)
        self.added_: tuple[dict[str, Floats], ...] = ()
        self.shown_ = np.arange(scores_NE.shape[1])
        self.usual_E_ = np.zeros(scores_NE.shape[1])  # where Newton's method begins: near the ratings of all queries
        self.usual_E_ = self._rated(np.full((1, len(scores_NE)), 1.0 / len(scores_NE), np.float32))[0]
        rows_M = np.random.default_rng(self.seed).permutation(len(scores_NE))[:SAMPLE]
        rating_ME = np.concatenate(
            [
                self._rated(self._weighted(self.x_ND_[part], self.x_ND_, apart=part))
                for part in np.split(rows_M, range(self._chunk(), len(rows_M), self._chunk()))
            ]
        )
        self.levels_ = Levels.fit(rating_ME, *_complete(scores_NE, weights_NE, rows_M), self.level).parts()

    def _chunk(self) -> int:
        """Queries rated at once."""
        experts = self.score_NE_.shape[1]
        return max(1, min(CHUNK, PAIRS // int(experts * experts)))

    def _unit(self, features: FeatureMap) -> Floats:
        return unit(dense(features[self.signal], self.signal))

    def _weighted(self, x_BD: Floats, logged_ND: Floats, apart: NDArray[np.intp] | None = None) -> Floats:
        """The weight of N logged queries in each of B others, rows summing to one; `apart` are its own, left out."""
        if self.gamma == 1.0:
            similar_BN: Floats = np.zeros((len(x_BD), len(logged_ND)), np.float32)
        else:
            similar_BN = x_BD @ logged_ND.T
            if apart is not None:
                similar_BN[np.arange(len(apart)), apart] = -np.inf
            largest_B1 = np.maximum(similar_BN.max(axis=1, keepdims=True), 1e-3)
            similar_BN = np.log(np.float32(self.gamma)) * (similar_BN / largest_B1 - 1.0)
        weight_BN = np.exp(similar_BN)
        if apart is not None:
            weight_BN[np.arange(len(apart)), apart] = 0.0
        return np.asarray(weight_BN / np.maximum(weight_BN.sum(axis=1, keepdims=True), 1e-30))

    def _rated(self, weight_BN: Floats) -> Floats:
        """Ratings of the experts of `fit`, (B, E), by Newton's method on all queries at once."""
        experts = self.score_NE_.shape[1]
        count_BEE, ahead_BEE = self._compared(weight_BN)
        won_BE = (0.5 * (count_BEE + ahead_BEE)).sum(axis=2)
        rating_BE = np.tile(self.usual_E_, (len(weight_BN), 1))
        diagonal = np.arange(experts)
        for _ in range(STEPS):
            chance_BEE = 0.5 + 0.5 * np.tanh(0.5 * (rating_BE[:, :, None] - rating_BE[:, None, :]))
            slope_BE = won_BE - (count_BEE * chance_BEE).sum(axis=2) - RIDGE * rating_BE
            curve_BEE = -count_BEE * chance_BEE * (1.0 - chance_BEE)
            curve_BEE[:, diagonal, diagonal] -= curve_BEE.sum(axis=2) - RIDGE
            step_BE = np.linalg.solve(curve_BEE, slope_BE[:, :, None])[:, :, 0]
            rating_BE = rating_BE + np.clip(step_BE, -FURTHEST, FURTHEST)
            if not np.abs(step_BE).max(initial=0.0) > 1e-3:
                break
        return rating_BE

    def _compared(self, weight_BN: Floats) -> tuple[Floats, Floats]:
        """Weight of the comparisons of every pair, and by how much the first is ahead, each (B, E, E)."""
        experts = self.score_NE_.shape[1]
        if np.ptp(self.root_NE_) == 0:  # all observed alike: weighted means say it all
            mean_BE = (weight_BN @ self.score_NE_).astype(np.float64)
            return np.ones((len(mean_BE), experts, experts)), mean_BE[:, :, None] - mean_BE[:, None, :]
        both_BEE, mine_BEE = np.zeros((2, len(weight_BN), experts, experts))
        for i, root_N in enumerate(self.root_NE_.T):  # one expert at a time: all pairs of every query may be too many
            paired_NE = root_N[:, None] * self.root_NE_
            both_BEE[:, i], mine_BEE[:, i] = weight_BN @ paired_NE, weight_BN @ (self.score_NE_[:, [i]] * paired_NE)
        return both_BEE, mine_BEE - mine_BEE.transpose(0, 2, 1)

    def _against(self, x_BD: Floats, base_BE: Floats, one: dict[str, Floats]) -> Floats:
        """A newcomer's ratings, (B, 1), against the others' fixed ones."""
        weight_BM = self._weighted(x_BD, one["x_MD"])
        won_B1 = weight_BM @ (0.5 + 0.5 * (one["score_M"][:, None] - one["rival_ME"])).sum(axis=1, keepdims=True)
        rating_B1 = np.zeros((len(x_BD), 1))
        for _ in range(2 * STEPS):
            chance_BE = 0.5 + 0.5 * np.tanh(0.5 * (rating_B1 - base_BE))
            curve_B1 = (chance_BE * (1.0 - chance_BE)).sum(axis=1, keepdims=True) + RIDGE
            step_B1 = (won_B1 - chance_BE.sum(axis=1, keepdims=True) - RIDGE * rating_B1) / curve_B1
            rating_B1 = rating_B1 + np.clip(step_B1, -FURTHEST, FURTHEST)
        return rating_B1

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        x_ND = self._unit(features)
        chunk = self._chunk()
        parts = [self._every(x_ND[start : start + chunk]) for start in range(0, max(len(x_ND), 1), chunk)]
        rating_NE = np.concatenate(parts)
        return Levels(*self.levels_).take(self.shown_).apply(rating_NE[:, self.shown_])

    def _every(self, x_BD: Floats) -> Floats:
        """Ratings of all experts that ever were, also of those removed: they remain as opponents."""
        base_BE = self._rated(self._weighted(x_BD, self.x_ND_))
        return np.hstack([base_BE, *(self._against(x_BD, base_BE, one) for one in self.added_)])

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        seen_M = np.flatnonzero(np.isfinite(scores_N))
        x_MD, score_M1 = self._unit(features)[seen_M], scores_N[seen_M, None]
        base_ME = self._rated(self._weighted(x_MD, self.x_ND_))
        rival_ME, _ = Levels(*self.levels_).take(np.arange(base_ME.shape[1])).apply(base_ME)
        one = {"x_MD": x_MD, "score_M": score_M1[:, 0].astype(np.float32), "rival_ME": rival_ME.astype(np.float32)}
        rating_M1 = self._against(x_MD, base_ME, one)
        self.added_ = (*self.added_, one)
        self.levels_ = Levels(*self.levels_).newcomer(rating_M1, score_M1, self.level).parts()
        self.shown_ = np.append(self.shown_, len(self.levels_[0]) - 1)

    def _remove_expert(self, column: int) -> None:
        self.shown_ = np.delete(self.shown_, column)


def _complete(scores_NE: Floats, weights_NE: Floats, rows_M: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Scores and weights of the sampled rows; an expert unobserved there is known by its mean over all rows."""
    filled_NE = np.where(weights_NE > 0, scores_NE, 0.0)
    mean_E = (weights_NE * filled_NE).sum(axis=0) / weights_NE.sum(axis=0)
    weights_ME, scores_ME = weights_NE[rows_M].copy(), filled_NE[rows_M].copy()
    unseen_E = ~(weights_ME > 0).any(axis=0)
    weights_ME[:, unseen_E], scores_ME[:, unseen_E] = 1.0, mean_E[unseen_E]
    return scores_ME, weights_ME
