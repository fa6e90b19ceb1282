"""Queries of a form unlike any in the log: held-out evidence says nothing of them, so the best single expert serves.

Shape letters: N queries, D columns of the signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigError
from turnout.features import FeatureMap, Floats, Sparse

SIGNAL = "format"  # a new kind of query shows in its form sooner than in its words; docs/change.md has the figures
SHARE = 0.02
TINY = 1e-6  # a squared distance that rounding alone makes
SPREAD = 0.03  # what varies less in the log counts as if it varied about so much; the columns are of order 1


@dataclass(frozen=True)
class Novelty:
    """A query's Mahalanobis distance to the logged ones, beyond which it counts as novel.

    The distance is that of Lee et al., "A simple unified framework for detecting out-of-distribution samples" (2018),
    without classes. `limit` (squared) follows from the logged queries' own, each measured from the others in closed
    form: a conformal test (Bates et al., "Testing for outliers with conformal p-values", 2023), which takes at most
    `share` of queries like the logged ones for novel. `root_DD` turns centred columns so that they have unit variance.

    Limits: a new kind of query in a familiar form passes; under `1 / share` logged queries none is novel.

    >>> form_ND = np.random.default_rng(0).normal([1.0, 2.0, 0.0], [0.5, 1.0, 0.0], (200, 3))
    >>> novelty = Novelty.learn({"format": form_ND}, 0.02)
    >>> novelty.abstains({"format": np.array([[1.2, 2.5, 0.0], [1.2, 2.5, 1.0]])}).tolist()
    [False, True]
    """

    share: float
    limit: float
    mean_D: NDArray[np.float32] = field(compare=False)
    root_DD: NDArray[np.float32] = field(compare=False)

    @classmethod
    def learn(cls, features: FeatureMap, share: float) -> Novelty | None:
        """From logged queries; None with a share of 0 or where `format` is not among them. Raises ConfigError."""
        if not 0.0 <= share < 1.0:
            raise ConfigError(f"novelty must be 0 (off) or a share of queries below 1, got {share!r}")
        if share == 0.0 or SIGNAL not in features:
            return None
        x_ND = _columns(features).astype(np.float64)
        rows, mean_D = len(x_ND), x_ND.mean(axis=0)
        away_ND = x_ND - mean_D
        variance_DD = away_ND.T @ away_ND / rows + SPREAD**2 * np.eye(len(mean_D))
        root_DD = np.linalg.inv(np.linalg.cholesky(variance_DD)).T
        far_N = _squares(away_ND, root_DD)
        far_N /= 1.0 - far_N / rows  # as if the query had not been among those that the variance is from
        rank = int(share * (rows + 1))
        limit = max(float(np.partition(far_N, -rank)[-rank]), TINY) if rank else float("inf")
        return cls(share, limit, mean_D.astype(np.float32), root_DD.astype(np.float32))

    def abstains(self, features: FeatureMap) -> NDArray[np.bool_]:
        """Where a query is novel, shape (N,)."""
        return _squares(_columns(features) - self.mean_D, self.root_DD) > self.limit

    def words(self, baseline: str) -> str:
        """What it does, in plain words."""
        return f"queries of a form less usual than {1.0 - self.share:.0%} of the log's go to {baseline}"

    def state(self) -> dict[str, Any]:
        """Plain values and arrays, for saving."""
        limit = self.limit if np.isfinite(self.limit) else None
        return {"share": self.share, "limit": limit, "mean": self.mean_D, "root": self.root_DD}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Novelty:
        """The inverse of `state`."""
        limit = float("inf") if state["limit"] is None else state["limit"]
        return cls(state["share"], limit, state["mean"], state["root"])


def _columns(features: FeatureMap) -> Floats:
    x_ND = features[SIGNAL]
    assert not isinstance(x_ND, Sparse)
    return x_ND


def _squares(away_ND: Floats, root_DD: Floats) -> Floats:
    """Squared distances, shape (N,)."""
    turned_ND = away_ND @ root_DD
    return np.asarray(np.vecdot(turned_ND, turned_ND))
