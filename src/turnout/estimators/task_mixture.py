"""The mean score per task, mixed by how likely each task is, given the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Number, Rule
from turnout.estimators._cells import cell_means
from turnout.estimators._rules import Names
from turnout.estimators.base import Estimator
from turnout.estimators.logistic import Logistic
from turnout.features import FeatureMap, Floats

__all__ = ["TaskMixture"]


class TaskMixture(Estimator):
    """A classifier of tasks (logistic regression, one against the rest), and each task's mean scores.

    A query gets the tasks' means, weighted by the tasks' chances; the standard error holds the means' own and what not
    knowing the task adds. Task names are needed by `fit` only; without them there is one task, and this is the constant
    estimator. `prior` queries at the expert's mean are added to every task. Limits: of what tells experts apart within
    a task nothing is seen; tasks the log does not hold are taken for those it does; a log without prompts stores no
    `tfidf`, so there `on` must name what it stores.

    >>> x_ND = np.array([[-1.0], [-0.9], [0.9], [1.0]] * 10)
    >>> scores_NE, tasks = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]] * 10), ["math", "math", "code", "code"] * 10
    >>> fitted = TaskMixture(on=("x",)).fit({"x": x_ND}, scores_NE, tasks=tasks)
    >>> fitted.tasks_, fitted.predict({"x": np.array([[1.0]])})[0].round(1).tolist()
    (('code', 'math'), [[0.1, 0.9]])
    """

    rules: ClassVar[dict[str, Rule]] = {"on": Names(), "prior": Number(0.0), "seed": Number(0, integer=True)}

    def __init__(
        self, on: tuple[str, ...] = ("embedding", "tfidf", "format"), prior: float = 5.0, seed: int = 0
    ) -> None:
        self.on, self.prior, self.seed = on, prior, seed

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.on)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        names, task_N = np.unique(np.asarray([""] * len(scores_NE) if tasks is None else tasks), return_inverse=True)
        self.tasks_ = tuple(map(str, names))
        self.classifier_ = None
        if len(names) > 1:
            belongs_NT = (task_N[:, None] == np.arange(len(names))).astype(np.float64)
            self.classifier_ = Logistic(on=tuple(self.on), seed=self.seed).fit(features, belongs_NT)
        self.mean_TE_, self.se_TE_ = cell_means(task_N, scores_NE, weights_NE, len(names), self.prior)

    def chances(self, features: FeatureMap) -> Floats:
        """How likely each task is, shape (N, T), rows summing to one."""
        rows = len(features[self.on[0]])
        if self.classifier_ is None:
            return np.ones((rows, 1))
        chance_NT = self.classifier_.chances(features)
        return np.asarray(chance_NT / np.maximum(chance_NT.sum(axis=1, keepdims=True), 1e-12))

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        chance_NT = self.chances(features)
        mean_NE = chance_NT @ self.mean_TE_
        square_NE = chance_NT @ (self.se_TE_**2 + self.mean_TE_**2)
        return np.clip(mean_NE, 0.0, 1.0), np.sqrt(np.maximum(square_NE - mean_NE**2, 0.0))

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        """A query of unknown task counts for every task by its chance."""
        seen_N = np.isfinite(scores_N)
        chance_NT = self.chances(features)[seen_N]
        scores_N = scores_N[seen_N]
        overall, total_T = scores_N.mean(), chance_NT.sum(axis=0)
        floor = self.prior if self.prior > 0 else 1e-9
        mean_T = (chance_NT.T @ scores_N + floor * overall) / (total_T + floor)
        spread_T = (chance_NT * (scores_N[:, None] - mean_T) ** 2).sum(axis=0)
        extra = max(self.prior, 1.0)  # as in `cell_means`
        variance_T = (spread_T + extra * scores_N.var()) / (total_T + extra)
        se_T = np.sqrt(variance_T / np.maximum(total_T + self.prior, 1.0))
        self.mean_TE_, self.se_TE_ = np.column_stack([self.mean_TE_, mean_T]), np.column_stack([self.se_TE_, se_T])

    def _remove_expert(self, column: int) -> None:
        self.mean_TE_, self.se_TE_ = np.delete(self.mean_TE_, column, 1), np.delete(self.se_TE_, column, 1)
