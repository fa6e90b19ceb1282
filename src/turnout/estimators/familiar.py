"""Queries unlike any in the log: the further away they are, the more every expert is taken at its mean."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.estimators._around import Around
from turnout.estimators._cells import dense
from turnout.estimators._rules import Names
from turnout.estimators.base import Estimator, weighted_mean
from turnout.estimators.stack import Stack
from turnout.features import FeatureMap, Floats

__all__ = ["Familiar"]

TWIN = 0.014  # a distance up to which two logged queries are taken for one
LEAST = 0.05  # the spread of a column at least: what hardly varies in the log is strange when it does


class Familiar(Around):
    """The estimator `of`, shrunk towards each expert's mean score where a query resembles nothing in the log.

    A query is looked at through each of the dense signals `on`: what it is about, and what form it has. Its distance
    there is the mean distance to the `nearest` most similar of at most `keep` logged queries, columns brought to unit
    spread unless rows have unit length. The share of logged queries that are as far from the others is its p-value as
    in conformal novelty detection (Bates et al., "Testing for outliers with conformal p-values", 2023). From a p-value
    of `share` on the estimator speaks as it does; below, what it says beyond the means counts in proportion, the least
    of the signals deciding, so that a router is left with the best single expert where it knows nothing. The standard
    error takes the shrinkage as disagreement.

    Limits: learned routing can also gain on unfamiliar queries, which this gives up, and a part of its gain on the
    outskirts of what is known; a new kind of query in familiar words and form is not noticed. Near-duplicates in the
    log make everything else look stranger.

    >>> from turnout.estimators.ridge import Ridge
    >>> x_ND = np.random.default_rng(0).normal([4.0, 0.0, 0.0], [0.5, 1.0, 0.0], (80, 3))
    >>> x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    >>> scores_NE = 0.5 + np.hstack([x_ND[:, 1:2], -x_ND[:, 1:2]])
    >>> fitted = Familiar(Ridge(on=("x",)), on=("x",)).fit({"x": x_ND}, scores_NE)
    >>> known, strange = np.array([[0.97, 0.24, 0.0]]), np.array([[0.0, 0.24, 0.97]])
    >>> [bool(np.ptp(fitted.predict({"x": row})[0]) > 0.2) for row in (known, strange)]
    [True, False]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "of": Of((Estimator,)),
        "on": Names(),
        "nearest": Number(1, 100, integer=True),
        "share": Number(1e-6, 1.0),
        "keep": Number(2, 100_000, integer=True),
    }

    def __init__(
        self,
        of: Estimator = Stack(),
        on: tuple[str, ...] = ("embedding", "format"),
        nearest: int = 5,
        share: float = 0.2,
        keep: int = 2048,
    ) -> None:
        self.of, self.on, self.nearest, self.share, self.keep = of, on, nearest, share, keep

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.of.signals, *self.on)))

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self.of_ = self.of.clone().fit(features, scores_NE, weights_NE=weights_NE, tasks=tasks)
        self.learn(features, scores_NE, weights_NE)

    def learn(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats) -> Familiar:
        """The means, the queries that are remembered, and how near those are to each other; `of` is left aside."""
        kept = np.sort(np.random.default_rng(0).permutation(len(scores_NE))[: self.keep])
        self.mean_E_ = weighted_mean(scores_NE, weights_NE)[0]
        self.known_ = tuple(
            tuple(Known.of(dense(features[name], name), kept, self.nearest, self.share)) for name in self.on
        )
        return self

    def trust(self, features: FeatureMap) -> Floats:
        """The part of what the estimator says that counts, shape (N,), from 0 to 1."""
        trust_SN = [
            known.trust(dense(features[name], name), self.nearest)
            for name, known in zip(self.on, itertools.starmap(Known, self.known_), strict=True)
        ]
        return np.asarray(np.min(trust_SN, axis=0))

    def shrunk(self, features: FeatureMap, mean_NE: Floats, se_NE: Floats) -> tuple[Floats, Floats]:
        """Predictions and standard errors of these queries, drawn towards the means."""
        trust_N1 = self.trust(features)[:, None]
        apart_NE = mean_NE - self.mean_E_
        return self.mean_E_ + trust_N1 * apart_NE, np.hypot(trust_N1 * se_NE, (1.0 - trust_N1) * apart_NE)

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        return self.shrunk(features, *self.of_.predict(features))

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        self.of_.add_expert(features, scores_N)
        self.mean_E_ = np.append(self.mean_E_, np.nanmean(scores_N))

    def _remove_expert(self, column: int) -> None:
        self.of_.remove_expert(column)
        self.mean_E_ = np.delete(self.mean_E_, column)


class Known(NamedTuple):
    """Logged queries seen through one signal, scaled columns: shape (D, K).

    `limits` are distances, largest first, between which a query is neither strange nor familiar.
    """

    offset_D: Floats
    factor_D: Floats
    rows_DK: Floats
    limits: Floats

    @classmethod
    def of(cls, x_ND: Floats, kept: NDArray[np.intp], nearest: int, share: float) -> Known:
        """Scaled by all rows, remembering those kept."""
        offset_D, factor_D = np.zeros(x_ND.shape[1], np.float32), np.ones(x_ND.shape[1], np.float32)
        if not np.allclose(np.vecdot(x_ND, x_ND), 1.0, atol=1e-3):
            wide_ND = x_ND.astype(np.float64)  # single precision cannot tell twins apart far from the origin
            offset_D, factor_D = wide_ND.mean(axis=0), 1.0 / np.maximum(wide_ND.std(axis=0), LEAST)
        rows_DK = np.ascontiguousarray(((x_ND[kept] - offset_D) * factor_D).T)
        far_KK = _distances(rows_DK.T, rows_DK)
        far_KK[far_KK < TWIN] = far_KK.max()
        limits = np.quantile(_near(far_KK, nearest), np.linspace(1.0, 1.0 - share, 21))
        return cls(offset_D, factor_D, rows_DK, limits.astype(np.float64))

    def trust(self, x_ND: Floats, nearest: int) -> Floats:
        """From 0 for strangers to 1, shape (N,)."""
        far_N = _near(_distances((x_ND - self.offset_D) * self.factor_D, self.rows_DK), nearest)
        return np.interp(-far_N, -self.limits, np.linspace(0.0, 1.0, len(self.limits)), left=0.0)


def _distances(x_ND: Floats, rows_DK: Floats) -> Floats:
    """Euclidean, shape (N, K)."""
    square_NK = np.vecdot(x_ND, x_ND)[:, None] + (rows_DK * rows_DK).sum(axis=0) - 2.0 * (x_ND @ rows_DK)
    return np.asarray(np.sqrt(np.maximum(square_NK, 0.0)))


def _near(far_NK: Floats, nearest: int) -> Floats:
    """Mean of the smallest distances of each row, shape (N,)."""
    k = min(nearest, far_NK.shape[1])
    return np.asarray(np.partition(far_NK, k - 1, axis=1)[:, :k].mean(axis=1))
