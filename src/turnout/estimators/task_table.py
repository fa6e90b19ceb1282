"""The mean score per task, looked up by the task that a query resembles most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.estimators._cells import CellTable, nearest
from turnout.features import Floats

__all__ = ["TaskTable"]


class TaskTable(CellTable):
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

    def _partition(self, x_ND: Floats, tasks: Sequence[str] | None) -> None:
        self.tasks_, task_N = _codes(tasks, len(x_ND))
        self.centers_KD_ = np.stack([x_ND[task_N == code].mean(axis=0) for code in range(len(self.tasks_))])

    def _cell(self, x_ND: Floats) -> NDArray[np.intp]:
        return nearest(x_ND, self.centers_KD_)

    def _cells(self) -> int:
        return len(self.tasks_)


def _codes(tasks: Sequence[str] | None, rows: int) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    if tasks is None:
        return ("",), np.zeros(rows, dtype=np.intp)
    names, code_N = np.unique(np.asarray(tasks, dtype=str), return_inverse=True)
    return tuple(str(name) for name in names), code_N
