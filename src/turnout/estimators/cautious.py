"""Newcomers by a lower bound: an expert of few labels must look better by its uncertainty before it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Number, Of, Rule
from turnout.estimators.base import Estimator
from turnout.estimators.ridge import Ridge
from turnout.features import FeatureMap, Floats

__all__ = ["Cautious"]


class Cautious(Estimator):
    """The estimator `of`, with every expert that joins later predicted `caution` standard errors lower.

    Without this an expert known by a few dozen outcomes is asked wherever luck made it look best, which costs several
    points of quality until a thousand outcomes are there. The experts of the fit itself are predicted as they are.
    The opposite of the upper bounds of a bandit (Auer et al., 2002): it earns while others explore.

    Limits: a good newcomer is found later; it relies on the standard errors of `of`.

    >>> from turnout.estimators.constant import Constant
    >>> x = {"x": np.zeros((4, 1))}
    >>> fitted = Cautious(Constant(), caution=1.0).fit(x, np.array([[1.0], [0.0], [1.0], [0.0]]))
    >>> mean_NE, _ = fitted.add_expert(x, np.array([1.0, 0.0, 1.0, 0.0])).predict({"x": np.zeros((1, 1))})
    >>> bool(mean_NE[0, 0] > mean_NE[0, 1])
    True
    """

    rules: ClassVar[dict[str, Rule]] = {"of": Of((Estimator,)), "caution": Number(0.0, 10.0)}

    def __init__(self, of: Estimator = Ridge(), caution: float = 1.0) -> None:
        self.of, self.caution = of, caution

    @property
    def signals(self) -> tuple[str, ...]:
        return self.of.signals

    @property
    def models(self) -> int:
        return self.of.models

    def check(self) -> None:
        """Raise ParameterError for a parameter, of this estimator or the inner one, that breaks its rule."""
        super().check()
        self.of.check()

    @classmethod
    def around(cls, fitted: Estimator, experts: int, caution: float) -> Cautious:
        """A fitted estimator whose next experts are predicted with caution; nothing is learned again."""
        made = cls(fitted.clone(), caution)
        made.check()
        made.of_, made.caution_E_ = fitted, np.zeros(experts)
        return made

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self.of_ = self.of.clone().fit(features, scores_NE, weights_NE=weights_NE, tasks=tasks)
        self.caution_E_ = np.zeros(scores_NE.shape[1])

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        mean_NE, se_NE = self.of_.predict(features)
        return np.maximum(mean_NE - self.caution_E_ * se_NE, 0.0), se_NE

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        self.of_.add_expert(features, scores_N)
        self.caution_E_ = np.append(self.caution_E_, self.caution)

    def _remove_expert(self, column: int) -> None:
        self.of_.remove_expert(column)
        self.caution_E_ = np.delete(self.caution_E_, column)
