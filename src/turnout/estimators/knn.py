"""The scores of the most similar logged queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, OneOf, Rule
from turnout.estimators._cells import dense
from turnout.estimators._inverted import Inverted, cells, centers
from turnout.estimators.base import Estimator, weighted_mean
from turnout.features import FeatureMap, Floats, unit

__all__ = ["KNN"]

CHUNK = 128  # queries searched at once
EXACT = 2000  # logged queries up to which every similarity is computed in full
COARSE, RERANKED = 64, 4  # else: principal columns of the first pass, and how many times k it proposes
INDEXED = 100_000  # logged queries from which an inverted file proposes, if the estimator may choose
PROBES = 32  # cells of it that a query looks at


class KNN(Estimator):
    """The mean over the `k` nearest logged queries by cosine similarity, among those where the expert was observed.

    `weights` "distance" weighs a neighbour by its similarity above the k-th's; `prior` queries at the expert's mean
    are added. Over 2,000 logged queries, the first 64 principal axes propose 4k candidates, which are compared in full.
    `index` "cells" lets an inverted file propose them from the 32 nearest of some 2·√N cells; None does so from 100,000
    logged queries on, and "flat" never. Experts of which those cells hold too little are searched for in the whole log.
    Limits: memory grows with the log, and without an index time does; the proposal may miss a neighbour; an expert that
    was observed rarely has neighbours far away.

    >>> x_ND, scores_NE = np.array([[1.0, 0], [0.9, 0.1], [0, 1.0]]), np.array([[1.0], [1.0], [0.0]])
    >>> fitted = KNN("x", k=2, prior=0).fit({"x": x_ND}, scores_NE)
    >>> fitted.predict({"x": np.array([[1.0, 0.05]])})[0].round(3).tolist()
    [[1.0]]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "signal": Of((str,)),
        "k": Number(1, 100_000, integer=True),
        "weights": OneOf(("uniform", "distance")),
        "prior": Number(0.0),
        "index": OneOf((None, "flat", "cells")),
    }

    def __init__(
        self,
        signal: str = "embedding",
        k: int = 40,
        weights: str = "uniform",
        prior: float = 5.0,
        index: str | None = None,
    ) -> None:
        self.signal, self.k, self.weights, self.prior, self.index = signal, k, weights, prior, index

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        x_ND = unit(dense(features[self.signal], self.signal))
        self.rotation_DD_ = _principal(x_ND)
        self.x_ND_ = x_ND @ self.rotation_DD_
        self.scores_NE_ = np.where(weights_NE > 0, scores_NE, np.nan).astype(np.float32)
        mean_E, _ = weighted_mean(scores_NE, weights_NE)
        self.mean_E_, self.spread_E_ = mean_E, weighted_mean((scores_NE - mean_E) ** 2, weights_NE)[0]
        self.weights_NE_ = weights_NE.astype(np.float32)
        if self.index == "cells" or (self.index is None and len(x_ND) >= INDEXED):
            self.center_CD_ = centers(self.x_ND_[:, :COARSE])
            self.cell_N_ = cells(self.x_ND_[:, :COARSE], self.center_CD_)

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        x_ND = self._turned(features)
        parts = [self._near(x_ND[start : start + CHUNK]) for start in range(0, max(len(x_ND), 1), CHUNK)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([mean for mean, _ in parts]), np.concatenate([se for _, se in parts])

    def _turned(self, features: FeatureMap) -> Floats:
        return unit(dense(features[self.signal], self.signal)) @ self.rotation_DD_

    def _near(self, x_ND: Floats) -> tuple[Floats, Floats]:
        search = self._search()
        if search.inverted is not None:
            return self._near_cells(x_ND, search, search.inverted)
        coarse = search.coarse_NC.shape[1]
        similar_NM = x_ND[:, :coarse] @ search.coarse_NC.T
        mean_NE, se_NE = np.empty((2, len(x_ND), len(self.mean_E_)))
        row_N1 = np.arange(len(x_ND))[:, None]
        for group in search.groups:
            s_NM = similar_NM if group.rows_M is None else similar_NM[:, group.rows_M]
            if coarse < x_ND.shape[1]:
                near_NK = _largest(s_NM, RERANKED * self.k)
                rows_NK = near_NK if group.rows_M is None else group.rows_M[near_NK]
                # row by row: candidates of many queries together would not fit any cache
                s_NK = np.array([self.x_ND_.take(k, axis=0) @ x_D for k, x_D in zip(rows_NK, x_ND, strict=True)])
                best_NK = _largest(s_NK, self.k)
                near_NK = near_NK[row_N1, best_NK]
                weights_NK = self._weigh(s_NK[row_N1, best_NK])
            else:
                near_NK = _largest(s_NM, self.k)
                weights_NK = self._weigh(s_NM[row_N1, near_NK])
            mean_NE[:, group.columns_G], se_NE[:, group.columns_G] = self._pool(group, near_NK, weights_NK)
        return mean_NE, se_NE

    def _near_cells(self, x_ND: Floats, search: _Search, inverted: Inverted) -> tuple[Floats, Floats]:
        """As `_near`, from the rows of the nearest cells."""
        mean_NE, se_NE = np.empty((2, len(x_ND), len(self.mean_E_)))
        coarse = inverted.x_MD.shape[1]
        for n, x_D in enumerate(x_ND):
            found = inverted.near(x_D[:coarse], RERANKED * self.k, PROBES)
            for group, place_N in zip(search.groups, search.places, strict=True):
                near_K = found if place_N is None else found[place_N[found] >= 0]
                if len(near_K) < self.k:
                    rows_M = np.arange(len(self.x_ND_)) if group.rows_M is None else group.rows_M
                    near_K = rows_M[_largest((search.coarse_NC[rows_M] @ x_D[:coarse])[None], RERANKED * self.k)[0]]
                similar_K = self.x_ND_.take(near_K, axis=0) @ x_D
                best_K = _largest(similar_K[None], self.k)
                rows_1K = (near_K if place_N is None else place_N[near_K])[best_K]
                mean_1G, se_1G = self._pool(group, rows_1K, self._weigh(similar_K[best_K]))
                mean_NE[n, group.columns_G], se_NE[n, group.columns_G] = mean_1G[0], se_1G[0]
        return mean_NE, se_NE

    def _weigh(self, similar_NK: Floats) -> Floats:
        if self.weights == "uniform":
            return np.ones_like(similar_NK)
        return np.asarray(similar_NK - similar_NK.min(axis=1, keepdims=True) + 1e-3)

    def _pool(self, group: Group, near_NK: NDArray[np.intp], weights_NK: Floats) -> tuple[Floats, Floats]:
        # weighted sums of 1, the score and its square, in one product
        sums_NF = np.matmul(weights_NK[:, None, :], group.sums_MF[near_NK])[:, 0].astype(np.float64)
        squares_NG = np.matmul((weights_NK**2)[:, None, :], group.squares_MG[near_NK])[:, 0].astype(np.float64)
        width = len(group.columns_G)
        total_NG = sums_NF[:, :width]
        raw_NG, spread_NG = sums_NF[:, width : 2 * width] / total_NG, sums_NF[:, 2 * width :] / total_NG
        spread_NG = spread_NG - raw_NG**2
        effective_NG = total_NG**2 / squares_NG
        overall_G, prior = self.mean_E_[group.columns_G], self.prior
        mean_NG = (effective_NG * raw_NG + prior * overall_G) / (effective_NG + prior)
        extra = max(prior, 1.0)
        variance_NG = effective_NG * np.maximum(spread_NG, 0.0) + extra * self.spread_E_[group.columns_G]
        return mean_NG, np.sqrt(variance_NG / (effective_NG + extra) / (effective_NG + prior))

    def _search(self) -> _Search:
        """Derived from the learned arrays once per set of experts, never saved."""
        cached: _Search | None = self.__dict__.get("_cache")
        if cached is None or cached.source is not self.scores_NE_:
            cached = self._cache = self._prepare()
        return cached

    def _prepare(self) -> _Search:
        groups = _group(self.scores_NE_, self.weights_NE_)
        coarse_NC = self.x_ND_[:, :COARSE]
        center_CD = getattr(self, "center_CD_", None)
        if center_CD is not None:
            inverted = Inverted.of(coarse_NC, center_CD, self.cell_N_)
            places = [_places(group, len(self.x_ND_)) for group in groups]
            return _Search(self.scores_NE_, coarse_NC, groups, inverted, places)
        first_NC = self.x_ND_ if len(self.x_ND_) <= EXACT else np.ascontiguousarray(coarse_NC)
        return _Search(self.scores_NE_, first_NC, groups, None, [])

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        x_ND = self._turned(features)
        rows, columns = self.scores_NE_.shape
        if not np.array_equal(x_ND, self.x_ND_):
            self.x_ND_ = np.concatenate([self.x_ND_, x_ND])
            if hasattr(self, "center_CD_"):
                self.cell_N_ = np.concatenate([self.cell_N_, cells(x_ND[:, :COARSE], self.center_CD_)])
        added_N = np.full(len(self.x_ND_), np.nan, dtype=np.float32)
        added_N[-len(scores_N) :] = scores_N
        scores_NE = np.full((len(self.x_ND_), columns + 1), np.nan, dtype=np.float32)
        scores_NE[:rows, :columns], scores_NE[:, columns] = self.scores_NE_, added_N
        weights_NE = np.zeros_like(scores_NE)
        weights_NE[:rows, :columns], weights_NE[:, columns] = self.weights_NE_, np.isfinite(added_N)
        seen_N = scores_N[np.isfinite(scores_N)]
        self.mean_E_, self.spread_E_ = np.append(self.mean_E_, seen_N.mean()), np.append(self.spread_E_, seen_N.var())
        self.scores_NE_, self.weights_NE_ = scores_NE, weights_NE

    def _remove_expert(self, column: int) -> None:
        self.mean_E_, self.spread_E_ = np.delete(self.mean_E_, column), np.delete(self.spread_E_, column)
        self.weights_NE_ = np.delete(self.weights_NE_, column, 1)
        self.scores_NE_ = np.delete(self.scores_NE_, column, 1)


@dataclass(frozen=True, slots=True)
class _Search:
    """The first principal columns of every logged query, experts that share a search, and the inverted file.

    `places` are, beside an inverted file, each group's place of a row among its own, -1 for a row it lacks.
    """

    source: Floats
    coarse_NC: Floats
    groups: list[Group]
    inverted: Inverted | None
    places: list[NDArray[np.intp] | None]


@dataclass(frozen=True, slots=True)
class Group:
    """Experts observed on the same M rows (None: all of them).

    `sums_MF` holds the importance weight w, w·score and w·score² of G experts, `squares_MG` w².
    """

    columns_G: NDArray[np.intp]
    rows_M: NDArray[np.intp] | None
    sums_MF: Floats
    squares_MG: Floats


def _places(group: Group, rows: int) -> NDArray[np.intp] | None:
    if group.rows_M is None:
        return None
    place_N = np.full(rows, -1, dtype=np.intp)
    place_N[group.rows_M] = np.arange(len(group.rows_M))
    return place_N


def _largest(values_NM: Floats, k: int) -> NDArray[np.intp]:
    """Columns of the k largest values of each row, in no order."""
    kept = min(k, values_NM.shape[1])
    return np.argpartition(values_NM, values_NM.shape[1] - kept, axis=1)[:, values_NM.shape[1] - kept :]


def _principal(x_ND: Floats) -> Floats:
    """A rotation to principal axes, the largest first; of a large log, those of every so many rows."""
    x_ND = x_ND[:: max(1, len(x_ND) // INDEXED)]
    _, basis_DD = np.linalg.eigh(x_ND.T.astype(np.float64) @ x_ND)
    return np.ascontiguousarray(basis_DD[:, ::-1], dtype=np.float32)


def _group(scores_NE: Floats, weights_NE: Floats) -> list[Group]:
    patterns_NG, group_E = np.unique(np.isfinite(scores_NE), axis=1, return_inverse=True)
    groups = []
    for index, seen_N in enumerate(patterns_NG.T):
        columns_G = np.flatnonzero(group_E == index)
        rows_M = np.flatnonzero(seen_N)
        cell = np.ix_(rows_M, columns_G)
        whole = None if seen_N.all() else rows_M
        scores_MG, weights_MG = scores_NE[cell], weights_NE[cell]
        sums_MF = np.hstack([weights_MG, weights_MG * scores_MG, weights_MG * scores_MG**2])
        groups.append(Group(columns_G, whole, sums_MF, weights_MG**2))
    return groups
