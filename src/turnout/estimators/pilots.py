"""Pilot prototypes: one centroid per task and best expert, tagged with that expert; a query follows the nearest tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, OneOf, Rule
from turnout.estimators._cells import cell_means, dense
from turnout.estimators._clusters import k_means
from turnout.estimators._levels import SCOPES, Levels
from turnout.estimators.base import Estimator
from turnout.features import FeatureMap, Floats, unit

__all__ = ["Pilots"]

NOWHERE = -1.0  # the similarity of an expert without a pilot


class Pilots(Estimator):
    """Logged queries grouped by (task, best expert); an expert's rating is its nearest group's cosine similarity.

    Groups of fewer than `fewest` queries leave no pilot; where several experts are equally good, the one that is best
    on the task has the query. `each` centroids stand for a group. Without task names there is one group per expert.
    `level` "score" turns similarities into expected scores by a line per expert, "rating" by one line for all, which
    keeps the nearest pilot's expert first, as published.

    Source: RouterRetriever (arXiv:2409.02685), where an expert is added by adding its pilots. A newcomer's pilots are
    the queries on which it beats what the others are expected to score. Limits: which expert is best on one query is
    mostly luck where several are about equal, so groups overlap; a similarity says little about a score.

    >>> x_ND = np.array([[1.0, 0], [0.9, 0.1], [0, 1.0], [0.1, 0.9]])
    >>> fitted = Pilots("x", fewest=1).fit({"x": x_ND}, np.eye(2)[[0, 0, 1, 1]])
    >>> fitted.predict({"x": np.array([[1.0, 0.2], [0.2, 1.0]])})[0].argmax(axis=1).tolist()
    [0, 1]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "signal": Of((str,)),
        "fewest": Number(1, integer=True),
        "each": Number(1, 4096, integer=True),
        "level": OneOf(SCOPES),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(
        self, signal: str = "embedding", *, fewest: int = 5, each: int = 1, level: str = "score", seed: int = 0
    ) -> None:
        self.signal, self.fewest, self.each, self.level, self.seed = signal, fewest, each, level, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        x_ND = self._unit(features)
        code_N = np.unique(np.asarray(tasks), return_inverse=True)[1] if tasks else np.zeros(len(x_ND), dtype=np.int64)
        codes = int(code_N.max()) + 1
        usual_NE = cell_means(code_N, scores_NE, weights_NE, codes, 1.0)[0][code_N]
        known_NE = np.where(weights_NE > 0, scores_NE, -np.inf)
        equal_NE = known_NE >= known_NE.max(axis=1, keepdims=True)
        best_N = np.where(equal_NE, usual_NE, -np.inf).argmax(axis=1)
        self.pilots_ = tuple(self._grouped(x_ND, best_N == e, code_N) for e in range(scores_NE.shape[1]))
        self.levels_ = Levels.fit(self._ratings(x_ND), scores_NE, weights_NE, self.level).parts()

    def _unit(self, features: FeatureMap) -> Floats:
        return unit(dense(features[self.signal], self.signal))

    def _grouped(self, x_ND: Floats, best_N: NDArray[np.bool_], code_N: NDArray[np.int64]) -> Floats:
        """Unit centroids (P, D) of an expert's best queries per task; one of all of them where every task has few."""
        rows = [np.flatnonzero(best_N & (code_N == code)) for code in range(int(code_N.max()) + 1)]
        kept = [part for part in rows if len(part) >= self.fewest] or [np.flatnonzero(best_N)]
        pilots_PD = np.concatenate([np.zeros((0, x_ND.shape[1])), *(self._centers(x_ND[p]) for p in kept if len(p))])
        return unit(pilots_PD)

    def _centers(self, x_MD: Floats) -> Floats:
        """`each` centroids of one group, fewer where it has fewer queries."""
        if self.each == 1 or len(x_MD) <= 1:
            return np.asarray(x_MD.mean(axis=0, keepdims=True))
        return k_means(x_MD, min(self.each, len(x_MD)), self.seed)

    def _ratings(self, x_ND: Floats) -> Floats:
        fast = self._prepared()
        rating_NE = np.full((len(x_ND), len(self.pilots_)), NOWHERE)
        if len(fast.known_K):
            rating_NE[:, fast.known_K] = np.maximum.reduceat(x_ND @ fast.pilots_DP, fast.starts_K, axis=1)
        return rating_NE

    def _prepared(self) -> _Prepared:
        """All pilots side by side; derived once per set of experts, never saved."""
        cached: _Prepared | None = self.__dict__.get("_cache")
        if cached is None or cached.source is not self.pilots_:
            sizes_E = np.array([len(pilots_PD) for pilots_PD in self.pilots_])
            known_K = np.flatnonzero(sizes_E)
            starts_K = (np.cumsum(sizes_E) - sizes_E)[known_K]
            pilots_DP = np.ascontiguousarray(np.concatenate(self.pilots_).T)
            cached = self._cache = _Prepared(self.pilots_, pilots_DP, known_K, starts_K)
        return cached

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        return Levels(*self.levels_).apply(self._ratings(self._unit(features)))

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        seen_M = np.flatnonzero(np.isfinite(scores_N))
        x_MD, score_M1 = self._unit(features)[seen_M], scores_N[seen_M, None]
        rival_M = Levels(*self.levels_).apply(self._ratings(x_MD))[0].max(axis=1)
        better_M = score_M1[:, 0] > rival_M
        better_M = better_M if better_M.any() else score_M1[:, 0] >= score_M1.max()
        self.pilots_ = (*self.pilots_, self._grouped(x_MD, better_M, np.zeros(len(x_MD), dtype=np.int64)))
        self.levels_ = Levels(*self.levels_).newcomer(self._ratings(x_MD)[:, -1:], score_M1, self.level).parts()

    def _remove_expert(self, column: int) -> None:
        self.pilots_ = tuple(pilots_PD for place, pilots_PD in enumerate(self.pilots_) if place != column)
        kept_E = np.delete(np.arange(len(self.levels_[0])), column)
        self.levels_ = Levels(*self.levels_).take(kept_E).parts()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Pilots of all experts in P columns, the K experts that have any, and where each one's begin."""

    source: tuple[Floats, ...]
    pilots_DP: Floats
    known_K: NDArray[np.intp]
    starts_K: NDArray[np.intp]
