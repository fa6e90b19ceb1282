"""Clusters of queries with one table of scores: the rule of the strongest simple routers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.estimators._cells import CellTable, nearest
from turnout.features import Floats

__all__ = ["Prototypes"]


class Prototypes(CellTable):
    """k-means prototypes of one dense signal; a query gets the mean score of its nearest prototype's cluster.

    `k` None takes one prototype per 60 queries, at least 4 and at most 64; `prior` queries at the expert's mean are
    added to every cluster. After Avengers (arXiv:2505.19797), with shrinkage. Limits: k-means does not see scores, so
    clusters follow topics whether or not the experts differ there; deterministic only for a given `seed`.

    >>> x_ND, scores_NE = np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    >>> fitted = Prototypes("x", k=2, prior=0).fit({"x": x_ND}, scores_NE)
    >>> fitted.predict({"x": np.array([[0.2]])})[0].round(3).tolist()
    [[1.0, 0.0]]
    """

    rules: ClassVar[dict[str, Rule]] = {
        "signal": Of((str,)),
        "k": Number(1, 4096, integer=True, optional=True),
        "prior": Number(0.0),
        "seed": Number(0, integer=True),
    }

    def __init__(self, signal: str = "embedding", k: int | None = None, prior: float = 10.0, seed: int = 0) -> None:
        self.signal, self.k, self.prior, self.seed = signal, k, prior, seed

    def _partition(self, x_ND: Floats, tasks: Sequence[str] | None) -> None:
        wanted = self.k if self.k is not None else min(max(len(x_ND) // 60, 4), 64)
        self.centers_KD_ = _k_means(x_ND, max(1, min(wanted, len(np.unique(x_ND, axis=0)))), self.seed)

    def _cell(self, x_ND: Floats) -> NDArray[np.intp]:
        return nearest(x_ND, self.centers_KD_)

    def _cells(self) -> int:
        return len(self.centers_KD_)


def _k_means(x_ND: Floats, k: int, seed: int) -> Floats:
    from sklearn.cluster import KMeans

    fitted = KMeans(n_clusters=k, n_init=2, random_state=seed).fit(x_ND)
    return np.ascontiguousarray(fitted.cluster_centers_, dtype=np.float32)
