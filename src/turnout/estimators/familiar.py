"""Queries unlike any in the log: the further away they are, the more every expert is taken at its mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Number, Of, Rule
from turnout.estimators._around import Around
from turnout.estimators._cells import dense
from turnout.estimators.base import Estimator, weighted_mean
from turnout.estimators.stack import Stack
from turnout.features import FeatureMap, Floats

__all__ = ["Familiar"]

TWIN = 0.9999  # a cosine from which on two logged queries are taken for one


class Familiar(Around):
    """The estimator `of`, shrunk towards each expert's mean score where a query resembles nothing in the log.

    A query's nearness is its mean cosine, in a dense `signal` of unit rows, to the `nearest` most similar of at most
    `keep` logged queries. The share of logged queries that are no nearer to the others is its p-value as in conformal
    novelty detection (Bates et al., "Testing for outliers with conformal p-values", 2023). From a p-value of `share`
    on the estimator speaks as it does; below, what it says beyond the means counts in proportion, so that a router is
    left with the best single expert where it knows nothing. The standard error takes the shrinkage as disagreement.

    Limits: learned routing can also gain on unfamiliar queries, which this gives up, and a part of its gain on the
    outskirts of what is known; a new kind of query in familiar words is not noticed. Near-duplicates in the log make
    everything else look stranger.

    >>> from turnout.estimators.ridge import Ridge
    >>> x_ND = np.random.default_rng(0).normal([4.0, 0.0, 0.0], [0.5, 1.0, 0.0], (80, 3))
    >>> x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    >>> fitted = Familiar(Ridge(on=("x",)), signal="x").fit({"x": x_ND}, 0.5 + np.hstack([x_ND[:, 1:2], -x_ND[:, 1:2]]))
    >>> known, strange = np.array([[0.97, 0.24, 0.0]]), np.array([[0.0, 0.24, 0.97]])
    >>> [bool(np.ptp(fitted.predict({"x": row})[0]) > 0.2) for row in (known, strange)]
    [True, False]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "of": Of((Estimator,)),
        "signal": Of((str,)),
        "nearest": Number(1, 100, integer=True),
        "share": Number(1e-6, 1.0),
        "keep": Number(2, 100_000, integer=True),
    }

    def __init__(
        self,
        of: Estimator = Stack(),
        signal: str = "embedding",
        nearest: int = 5,
        share: float = 0.2,
        keep: int = 2048,
    ) -> None:
        self.of, self.signal, self.nearest, self.share, self.keep = of, signal, nearest, share, keep

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.of.signals, self.signal)))

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self.of_ = self.of.clone().fit(features, scores_NE, weights_NE=weights_NE, tasks=tasks)
        self.learn(features, scores_NE, weights_NE)

    def learn(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats) -> Familiar:
        """The means, the queries that are remembered, and how near those are to each other; `of` is left aside."""
        x_ND = dense(features[self.signal], self.signal)
        kept = np.sort(np.random.default_rng(0).permutation(len(x_ND))[: self.keep])
        self.mean_E_ = weighted_mean(scores_NE, weights_NE)[0]
        self.rows_ = np.ascontiguousarray(x_ND[kept].T, dtype=np.float32)
        cosine_KK = self.rows_.T @ self.rows_
        cosine_KK[cosine_KK > TWIN] = -1.0
        near_K = _near(cosine_KK, self.nearest)
        # the quantiles between which a query is neither strange nor familiar
        self.limits_ = np.quantile(near_K, np.linspace(0.0, self.share, 21)).astype(np.float64)
        return self

    def trust(self, features: FeatureMap) -> Floats:
        """The part of what the estimator says that counts, shape (N,), from 0 to 1."""
        near_N = _near(dense(features[self.signal], self.signal) @ self.rows_, self.nearest)
        return np.interp(near_N, self.limits_, np.linspace(0.0, 1.0, len(self.limits_)), left=0.0)

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


def _near(cosine_NK: Floats, nearest: int) -> Floats:
    """Mean of the largest cosines of each row, shape (N,)."""
    count = cosine_NK.shape[1]
    k = min(nearest, count)
    return np.asarray(np.partition(cosine_NK, count - k, axis=1)[:, count - k :].mean(axis=1))
