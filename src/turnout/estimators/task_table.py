"""The mean score per task, looked up by the task that a query resembles most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.estimators._cells import cell_means, dense, nearest
from turnout.estimators.base import Estimator
from turnout.features import FeatureMap, Floats

__all__ = ["TaskTable"]


class TaskTable(Estimator):
    """A query goes to the nearest task centroid of a dense signal and gets that task's mean scores.

    Task names are needed by `fit` only; without them there is one task, and the table is the constant estimator.
    Limits: tasks that share a topic share a centroid; a task with a few queries is mostly the prior.

    >>> x_ND, scores_NE = np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    >>> fitted = TaskTable("x", prior=0).fit({"x": x_ND}, scores_NE, tasks=["math", "math", "code", "code"])
    >>> fitted.tasks_, fitted.predict({"x": np.array([[4.0]])})[0].round(3).tolist()
    (('code', 'math'), [[0.0, 1.0]])
    """

    rules: ClassVar[dict[str, Rule]] = {"signal": Of((str,)), "prior": Number(0.0)}

    def __init__(self, signal: str = "embedding", prior: float = 5.0) -> None:
        self.signal, self.prior = signal, prior

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        x_ND = dense(features[self.signal], self.signal)
        self.tasks_, task_N = _codes(tasks, len(x_ND))
        self.centers_KD_ = np.stack([x_ND[task_N == code].mean(axis=0) for code in range(len(self.tasks_))])
        self.mean_KE_, self.se_KE_ = self._table(x_ND, scores_NE, weights_NE)

    def _table(self, x_ND: Floats, scores_NE: Floats, weights_NE: Floats) -> tuple[Floats, Floats]:
        """Cells are those that `predict` will look up, so a task's look-alikes count where they will be asked for."""
        cell_N = nearest(x_ND, self.centers_KD_)
        return cell_means(cell_N, scores_NE, weights_NE, len(self.tasks_), self.prior)

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        cell_N = nearest(dense(features[self.signal], self.signal), self.centers_KD_)
        return self.mean_KE_[cell_N], self.se_KE_[cell_N]

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        x_ND, scores_N1 = dense(features[self.signal], self.signal), scores_N[:, None]
        mean_K1, se_K1 = self._table(x_ND, scores_N1, np.isfinite(scores_N1).astype(float))
        self.mean_KE_, self.se_KE_ = np.hstack([self.mean_KE_, mean_K1]), np.hstack([self.se_KE_, se_K1])

    def _remove_expert(self, column: int) -> None:
        self.mean_KE_, self.se_KE_ = np.delete(self.mean_KE_, column, 1), np.delete(self.se_KE_, column, 1)


def _codes(tasks: Sequence[str] | None, rows: int) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    if tasks is None:
        return ("",), np.zeros(rows, dtype=np.intp)
    names, code_N = np.unique(np.asarray(tasks, dtype=str), return_inverse=True)
    return tuple(str(name) for name in names), code_N
