"""A classifier of categories with a reject option, and a table of scores per category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Rule
from turnout.estimators._blocks import raw_block, scaling
from turnout.estimators._cells import cell_means
from turnout.estimators._rules import Names
from turnout.estimators.base import Estimator
from turnout.features import FeatureMap, Floats

__all__ = ["Category"]


class Category(Estimator):
    """Multinomial logistic regression of the task name; a query gets the mean scores of its likeliest category.

    Where the classifier's entropy exceeds `reject` of its maximum, log of the number of categories, the query belongs
    to the general category, which stands for all queries. `prior` queries at the expert's mean are added to every cell.
    Cells are those that `predict` looks up, so a category that the classifier confuses with another is known by what
    lands there. Task names are needed by `fit` only; without them there is one category.

    Source: the two steps of Composition of Experts (arXiv:2412.01868): classes of prompts are stable where the best
    expert of one prompt is noise, and experts come and go without training the classifier again. Limits: as coarse as
    the categories; experts that differ within one are not told apart.

    >>> x_ND = np.array([[0.0], [0.1], [5.0], [5.1]] * 5)
    >>> scores_NE = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]] * 5)
    >>> fitted = Category(on=("x",), prior=0).fit({"x": x_ND}, scores_NE, tasks=["math", "math", "code", "code"] * 5)
    >>> fitted.categories_, fitted.predict({"x": np.array([[0.0], [5.0]])})[0].argmax(axis=1).tolist()
    (('code', 'math'), [0, 1])
    """

    rules: ClassVar[dict[str, Rule]] = {
        "on": Names(),
        "reject": Number(0.0, 1.0),
        "penalty": Number(1e-6, 1e6),
        "prior": Number(0.0),
    }

    def __init__(
        self,
        on: tuple[str, ...] = ("embedding", "format"),
        *,
        reject: float = 0.7,
        penalty: float = 1.0,
        prior: float = 5.0,
    ) -> None:
        self.on, self.reject, self.penalty, self.prior = on, reject, penalty, prior

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.on)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        names, code_N = np.unique(np.asarray(tasks or [""] * len(scores_NE), dtype=str), return_inverse=True)
        self.categories_ = tuple(str(name) for name in names)
        self.mean_D_, self.factor_D_ = scaling(features, self.on)
        self.factor_D_ = self.factor_D_ / np.float32(np.sqrt(len(self.factor_D_)))  # rows of about unit length
        self.weight_DC_, self.bias_C_ = self._classifier(self._scaled(features), code_N)
        self.mean_KE_, self.se_KE_ = self._table(self.cells(features), scores_NE, weights_NE)

    def _classifier(self, x_ND: Floats, code_N: NDArray[np.intp]) -> tuple[Floats, Floats]:
        if len(self.categories_) == 1:
            return np.zeros((x_ND.shape[1], 1), np.float32), np.zeros(1)
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(C=100.0 / self.penalty, max_iter=200, tol=1e-3).fit(x_ND, code_N)
        weight_DC, bias_C = fitted.coef_.T, fitted.intercept_
        if len(self.categories_) == 2:  # scikit-learn keeps one column of log-odds
            weight_DC, bias_C = np.hstack([-weight_DC, weight_DC]) / 2, np.concatenate([-bias_C, bias_C]) / 2
        return weight_DC.astype(np.float32), bias_C

    def _scaled(self, features: FeatureMap) -> Floats:
        return np.asarray((raw_block(features, self.on) - self.mean_D_) * self.factor_D_, dtype=np.float32)

    def cells(self, features: FeatureMap) -> NDArray[np.intp]:
        """The category of each query, shape (N,); the number of categories stands for the general one."""
        logit_NC = (self._scaled(features) @ self.weight_DC_).astype(np.float64) + self.bias_C_
        away_NC = logit_NC - logit_NC.max(axis=1, keepdims=True)
        chance_NC = np.exp(away_NC)
        chance_NC /= chance_NC.sum(axis=1, keepdims=True)
        entropy_N = -(chance_NC * np.log(np.maximum(chance_NC, 1e-30))).sum(axis=1)
        count = len(self.categories_)
        unsure_N = entropy_N > self.reject * np.log(max(count, 2))
        return np.where(unsure_N, count, logit_NC.argmax(axis=1))

    def _table(self, cell_N: NDArray[np.intp], scores_NE: Floats, weights_NE: Floats) -> tuple[Floats, Floats]:
        """The categories' rows, and the general one: all queries."""
        count = len(self.categories_)
        mean_KE, se_KE = cell_means(cell_N, scores_NE, weights_NE, count + 1, self.prior)
        every_1E, error_1E = cell_means(np.zeros_like(cell_N), scores_NE, weights_NE, 1, self.prior)
        return np.vstack([mean_KE[:count], every_1E]), np.vstack([se_KE[:count], error_1E])

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        cell_N = self.cells(features)
        return self.mean_KE_[cell_N], self.se_KE_[cell_N]

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        scores_N1 = scores_N[:, None]
        mean_K1, se_K1 = self._table(self.cells(features), scores_N1, np.isfinite(scores_N1).astype(float))
        self.mean_KE_, self.se_KE_ = np.hstack([self.mean_KE_, mean_K1]), np.hstack([self.se_KE_, se_K1])

    def _remove_expert(self, column: int) -> None:
        self.mean_KE_, self.se_KE_ = np.delete(self.mean_KE_, column, 1), np.delete(self.se_KE_, column, 1)
