"""Clusters of queries with a table of scores: the rule of the strongest simple routers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.estimators._cells import cell_means, dense, leave_one_out, nearest
from turnout.estimators._clusters import k_means
from turnout.estimators._contenders import choose_by_contenders
from turnout.estimators.base import Estimator
from turnout.features import FeatureMap, Floats

__all__ = ["Prototypes"]

LEVELS = (8, 16, 32, 64)
PRIORS = tuple(float(p) for p in np.geomspace(2.0, 500.0, 9))
FEWEST = 20  # queries per prototype, on average, where `k` is not given


class Prototypes(Estimator):
    """k-means prototypes of one dense signal; a query gets the mean score of its nearest prototype's cluster.

    `k` None averages over several numbers of prototypes (8, 16, 32 and 64, as far as there are 20 queries for each),
    which smooths the borders. `prior` queries at the expert's mean are added to every cluster; None takes the number
    that tells contenders apart best on queries left out. After Avengers (arXiv:2505.19797), with shrinkage. Limits:
    k-means does not see scores, so clusters follow topics whether or not the experts differ there.

    >>> x_ND, scores_NE = np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    >>> fitted = Prototypes("x", k=2, prior=0).fit({"x": x_ND}, scores_NE)
    >>> fitted.predict({"x": np.array([[0.2]])})[0].round(3).tolist()
    [[1.0, 0.0]]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "signal": Of((str,)),
        "k": Number(1, 4096, integer=True, optional=True),
        "prior": Number(0.0, optional=True),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(
        self, signal: str = "embedding", k: int | None = None, prior: float | None = None, seed: int = 0
    ) -> None:
        self.signal, self.k, self.prior, self.seed = signal, k, prior, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        x_ND = dense(features[self.signal], self.signal)
        wanted = (self.k,) if self.k is not None else [k for k in LEVELS if k * FEWEST <= len(x_ND)] or LEVELS[:1]
        self.levels_ = tuple(k_means(x_ND, k, self.seed) for k in wanted)
        cell_LN = [nearest(x_ND, centers_KD) for centers_KD in self.levels_]
        self.prior_ = self._chosen_prior(cell_LN, scores_NE, weights_NE)
        self.tables_ = self._tables(cell_LN, scores_NE, weights_NE)

    def _chosen_prior(self, cell_LN: list[NDArray[np.intp]], scores_NE: Floats, weights_NE: Floats) -> float:
        if self.prior is not None:
            return float(self.prior)
        candidates = [
            np.mean([leave_one_out(cell_N, scores_NE, weights_NE, prior) for cell_N in cell_LN], axis=0)
            for prior in PRIORS
        ]
        return PRIORS[choose_by_contenders(candidates, scores_NE, weights_NE)]

    def _tables(
        self, cell_LN: list[NDArray[np.intp]], scores_NE: Floats, weights_NE: Floats
    ) -> tuple[tuple[Floats, Floats], ...]:
        """Mean and standard error per level, each (K, E)."""
        return tuple(
            cell_means(cell_N, scores_NE, weights_NE, len(centers_KD), self.prior_)
            for cell_N, centers_KD in zip(cell_LN, self.levels_, strict=True)
        )

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        fast = self._prepared()
        closeness_NK = dense(features[self.signal], self.signal) @ fast.centers_DK
        closeness_NK -= fast.half_K
        cell_NL = closeness_NK.take(fast.places_LW, axis=1).argmax(axis=2) + fast.places_LW[:, 0]
        both_NF = np.add.reduce(fast.share_KF.take(cell_NL, axis=0), axis=1)
        experts = both_NF.shape[1] // 2
        return both_NF[:, :experts], both_NF[:, experts:]

    def _prepared(self) -> _Prepared:
        """All levels side by side, for one product; derived once per set of experts, never saved."""
        cached: _Prepared | None = self.__dict__.get("_cache")
        if cached is None or cached.source is not self.tables_:
            cached = self._cache = _prepare(self.levels_, self.tables_)
        return cached

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        x_ND, scores_N1 = dense(features[self.signal], self.signal), scores_N[:, None]
        added = self._tables(
            [nearest(x_ND, centers_KD) for centers_KD in self.levels_], scores_N1, np.isfinite(scores_N1).astype(float)
        )
        self.tables_ = tuple(
            (np.hstack([mean_KE, mean_K1]), np.hstack([se_KE, se_K1]))
            for (mean_KE, se_KE), (mean_K1, se_K1) in zip(self.tables_, added, strict=True)
        )

    def _remove_expert(self, column: int) -> None:
        self.tables_ = tuple(
            (np.delete(mean_KE, column, 1), np.delete(se_KE, column, 1)) for mean_KE, se_KE in self.tables_
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Prototypes of all L levels in K columns; row k of the table holds F = 2E values, means then standard errors.

    `places_LW` lists the columns of each level, its first one again where it has fewer than W.
    """

    source: tuple[tuple[Floats, Floats], ...]
    centers_DK: Floats
    half_K: Floats
    share_KF: Floats
    places_LW: NDArray[np.intp]


def _prepare(levels: Sequence[Floats], tables: tuple[tuple[Floats, Floats], ...]) -> _Prepared:
    size_L = np.array([len(centers_KD) for centers_KD in levels])
    column_W = np.arange(size_L.max())
    within_LW = np.where(column_W < size_L[:, None], column_W, 0)
    centers_KD = np.concatenate(levels)
    return _Prepared(
        source=tables,
        centers_DK=np.ascontiguousarray(centers_KD.T),
        half_K=0.5 * (centers_KD**2).sum(axis=1),
        share_KF=np.concatenate([np.hstack(pair) for pair in tables]) / len(levels),
        places_LW=(np.cumsum(size_L) - size_L)[:, None] + within_LW,
    )
