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
COARSE, RERANKED = 48, 6  # else: principal columns of the first pass, and how many times k it proposes
INDEXED = 100_000  # logged queries from which an inverted file proposes, if the estimator may choose
PROBES = 32  # cells of it that a query looks at


class KNN(Estimator):
    """The mean over the `k` nearest logged queries by cosine similarity, among those where the expert was observed.

    `weights` "distance" weighs a neighbour by its similarity above the k-th's; `prior` queries at the expert's mean
    are added. Over 2,000 logged queries, the first 48 principal axes propose 6k candidates, which are compared in full.
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
        similar_NM = None if search.inverted else x_ND[:, : search.columns] @ search.coarse_NC.T
        mean_NE, se_NE = np.empty((2, len(x_ND), len(self.mean_E_)))
        for group in search.groups:
            sums_N4G = np.empty((len(x_ND), 4, len(group.columns_G)))
            for n, x_D in enumerate(x_ND):
                if similar_NM is None:
                    near_K, similar_K = self._from_cells(search, group, x_D)
                else:
                    near_K, similar_K = self._from_all(search, group, similar_NM[n], x_D)
                sums_N4G[n] = group.sums(near_K, self._weigh(similar_K))
            mean_NE[:, group.columns_G], se_NE[:, group.columns_G] = self._pool(group, sums_N4G)
        return mean_NE, se_NE

    def _from_all(
        self, search: _Search, group: Group, similar_N: Floats, x_D: Floats
    ) -> tuple[NDArray[np.intp], Floats]:
        """The k nearest of a group's rows, and how similar they are; `similar_N` is the first pass over the log."""
        similar_M = similar_N if group.rows_M is None else similar_N.take(group.rows_M)
        if search.columns == len(x_D):
            best_K = _largest(similar_M, self.k)
            return best_K, similar_M.take(best_K)
        near_P = _largest(similar_M, RERANKED * self.k)
        rows_P = near_P if group.rows_M is None else group.rows_M.take(near_P)
        similar_P = self.x_ND_[:, search.columns :][rows_P] @ x_D[search.columns :]
        similar_P += similar_M.take(near_P)
        best_K = _largest(similar_P, self.k)
        return near_P.take(best_K), similar_P.take(best_K)

    def _from_cells(self, search: _Search, group: Group, x_D: Floats) -> tuple[NDArray[np.intp], Floats]:
        """As `_from_all`, from the rows of the nearest cells, unless those hold too few."""
        assert search.inverted is not None
        start_C = x_D[: search.columns]
        rows_P = search.inverted.near(start_C, RERANKED * self.k, PROBES)
        if group.place_N is not None:
            rows_P = rows_P[group.place_N[rows_P] >= 0]
        if len(rows_P) < self.k:
            rows_M = np.arange(len(self.x_ND_)) if group.rows_M is None else group.rows_M
            rows_P = rows_M[_largest(search.coarse_NC[rows_M] @ start_C, RERANKED * self.k)]
        similar_P = self.x_ND_.take(rows_P, axis=0) @ x_D
        best_K = _largest(similar_P, self.k)
        rows_K = rows_P.take(best_K)
        return rows_K if group.place_N is None else group.place_N.take(rows_K), similar_P.take(best_K)

    def _weigh(self, similar_K: Floats) -> Floats:
        if self.weights == "uniform":
            return np.ones_like(similar_K)
        return np.asarray(similar_K - similar_K.min() + 1e-3)

    def _pool(self, group: Group, sums_N4G: Floats) -> tuple[Floats, Floats]:
        total_NG, scored_NG, squared_NG, square_NG = sums_N4G.swapaxes(0, 1)
        raw_NG = scored_NG / total_NG
        spread_NG = np.maximum(squared_NG / total_NG - raw_NG * raw_NG, 0.0)
        effective_NG = total_NG * total_NG / square_NG
        prior, extra = self.prior, max(self.prior, 1.0)
        mean_NG = (effective_NG * raw_NG + prior * group.overall_G) / (effective_NG + prior)
        variance_NG = effective_NG * spread_NG + extra * group.spread_G
        return mean_NG, np.sqrt(variance_NG / (effective_NG + extra) / (effective_NG + prior))

    def _search(self) -> _Search:
        """Derived from the learned arrays once per set of experts, never saved."""
        cached: _Search | None = self.__dict__.get("_cache")
        if cached is None or cached.source is not self.scores_NE_:
            cached = self._cache = self._prepare()
        return cached

    def _prepare(self) -> _Search:
        center_CD = getattr(self, "center_CD_", None)
        groups = self._groups(placed=center_CD is not None)
        coarse_NC = self.x_ND_[:, :COARSE]
        if center_CD is not None:
            return _Search(self.scores_NE_, coarse_NC, groups, Inverted.of(coarse_NC, center_CD, self.cell_N_))
        first_NC = self.x_ND_ if len(self.x_ND_) <= EXACT else np.ascontiguousarray(coarse_NC)
        return _Search(self.scores_NE_, first_NC, groups, None)

    def _groups(self, *, placed: bool) -> list[Group]:
        patterns_NG, group_E = np.unique(np.isfinite(self.scores_NE_), axis=1, return_inverse=True)
        groups = []
        for index, seen_N in enumerate(patterns_NG.T):
            columns_G, rows_M = np.flatnonzero(group_E == index), np.flatnonzero(seen_N)
            cell = np.ix_(rows_M, columns_G)
            scores_MG, weights_MG = self.scores_NE_[cell], self.weights_NE_[cell]
            sums_MF = np.hstack([weights_MG, weights_MG * scores_MG, weights_MG * scores_MG**2, weights_MG**2])
            whole = bool(seen_N.all())
            place_N = None if whole or not placed else np.where(seen_N, np.cumsum(seen_N) - 1, -1)
            rows = None if whole else rows_M
            groups.append(Group(columns_G, rows, place_N, sums_MF, self.mean_E_[columns_G], self.spread_E_[columns_G]))
        return groups

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
    """The first principal columns of every logged query, experts that share a search, and the inverted file."""

    source: Floats
    coarse_NC: Floats
    groups: list[Group]
    inverted: Inverted | None

    @property
    def columns(self) -> int:
        """How many columns the first pass compares."""
        return int(self.coarse_NC.shape[1])


@dataclass(frozen=True, slots=True)
class Group:
    """G experts observed on the same M rows (`rows_M` None: all of them), and the means they are shrunk to.

    `sums_MF` holds the importance weight w, w·score, w·score² and w² of every expert: F = 4G. `place_N` is, beside an
    inverted file, a row's place among the M, -1 for one that is not.
    """

    columns_G: NDArray[np.intp]
    rows_M: NDArray[np.intp] | None
    place_N: NDArray[np.intp] | None
    sums_MF: Floats
    overall_G: Floats
    spread_G: Floats

    def sums(self, near_K: NDArray[np.intp], weights_K: Floats) -> Floats:
        """What `sums_MF` adds up to over K rows of these weights, shape (4, G); w² is weighted by their squares."""
        taken_KF, experts = self.sums_MF.take(near_K, axis=0), len(self.columns_G)
        sums_F = weights_K @ taken_KF
        sums_F[3 * experts :] = (weights_K * weights_K) @ taken_KF[:, 3 * experts :]
        return np.asarray(sums_F.reshape(4, experts))


def _largest(values_M: Floats, k: int) -> NDArray[np.intp]:
    """Places of the k largest values, in no order."""
    first = len(values_M) - min(k, len(values_M))
    return np.argpartition(values_M, first)[first:]


def _principal(x_ND: Floats) -> Floats:
    """A rotation to principal axes, the largest first; of a large log, those of every so many rows."""
    x_ND = x_ND[:: max(1, len(x_ND) // INDEXED)]
    _, basis_DD = np.linalg.eigh(x_ND.T.astype(np.float64) @ x_ND)
    return np.ascontiguousarray(basis_DD[:, ::-1], dtype=np.float32)
