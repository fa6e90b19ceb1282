"""How likely an expert is to come within a margin of the strongest: the quality gap as a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Number, Of, Rule
from turnout.estimators._levels import Levels
from turnout.estimators.base import Estimator, weighted_mean
from turnout.estimators.logistic import Logistic
from turnout.features import FeatureMap, Floats

__all__ = ["Gap"]

MARGINS = 41  # candidates, at quantiles of the gaps


class Gap(Estimator):
    """The chance that an expert's score is within `margin` of the strongest one's, learned by `member` as a score.

    The strongest is the expert with the best mean in `fit`. `margin` None takes, for every expert, the one at which the
    labels differ most between queries (largest variance), so that even an expert that is seldom as good leaves
    something to learn. The chances become expected scores by a line per expert; the strongest one's own score is
    learned as it is.

    Source: Hybrid LLM (arXiv:2404.14618), its router with labels transformed. A query on which the strongest was not
    observed teaches nothing about gaps, and there the expert's own score is the label. Limits: a label throws away by
    how much; where scores are right or wrong there is no margin to choose, and ties count as good enough.

    >>> x_ND = np.linspace(-1, 1, 80)[:, None]
    >>> scores_NE = np.hstack([np.full((80, 1), 0.9), np.where(x_ND > 0, 0.8, 0.2)])
    >>> fitted = Gap(Logistic(on=("x",))).fit({"x": x_ND}, scores_NE)
    >>> fitted.margin_E_.round(1).tolist(), fitted.predict({"x": np.array([[-1.0], [1.0]])})[0][:, 1].round(1).tolist()
    ([0.0, 0.1], [0.2, 0.8])
    """

    rules: ClassVar[dict[str, Rule]] = {"member": Of((Estimator,)), "margin": Number(0.0, 1.0, optional=True)}

    def __init__(self, member: Estimator = Logistic(on=("embedding",)), margin: float | None = None) -> None:
        self.member, self.margin = member, margin

    @property
    def signals(self) -> tuple[str, ...]:
        return self.member.signals

    def check(self) -> None:
        """Raise ParameterError for the first parameter, of this estimator or its member, that breaks its rule."""
        super().check()
        self.member.check()

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        strongest = int(weighted_mean(scores_NE, weights_NE)[0].argmax())
        known_NE = np.where(weights_NE > 0, scores_NE, np.nan)
        behind_NE = known_NE[:, [strongest]] - known_NE
        margins = [0.0 if e == strongest else self._margin(behind_N) for e, behind_N in enumerate(behind_NE.T)]
        self.margin_E_ = np.array(margins)
        label_NE = np.where(np.isfinite(behind_NE), behind_NE <= self.margin_E_ + 1e-9, known_NE)
        label_NE[:, strongest] = known_NE[:, strongest]
        self.member_ = self.member.clone().fit(features, label_NE, weights_NE=weights_NE, tasks=tasks)
        self.levels_ = Levels.fit(self.member_.predict(features)[0], scores_NE, weights_NE).parts()
        self.strongest_ = Levels(*self.levels_).take(np.array([strongest])).parts()
        self.reference_ = self.member_.clone().fit(
            features, known_NE[:, [strongest]], weights_NE=weights_NE[:, [strongest]], tasks=tasks
        )

    def _margin(self, behind_N: Floats) -> float:
        behind_N = behind_N[np.isfinite(behind_N)]
        if self.margin is not None or not len(behind_N):
            return self.margin or 0.0
        tried_M = np.unique(np.clip(np.quantile(behind_N, np.linspace(0, 1, MARGINS)), 0.0, 1.0))
        within_M = (behind_N[:, None] <= tried_M + 1e-9).mean(axis=0)
        return float(tried_M[(within_M * (1.0 - within_M)).argmax()])

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        return Levels(*self.levels_).apply(self.member_.predict(features)[0])

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        """The strongest one's expected score stands for its own, which these queries may lack."""
        strong_N = Levels(*self.strongest_).apply(self.reference_.predict(features)[0])[0][:, 0]
        behind_N = strong_N - scores_N
        margin = self._margin(behind_N)
        label_N = np.where(np.isfinite(scores_N), behind_N <= margin + 1e-9, np.nan)
        self.member_.add_expert(features, label_N)
        seen_M = np.flatnonzero(np.isfinite(scores_N))
        rating_M1 = self.member_.predict(features)[0][seen_M, -1:]
        self.levels_ = Levels(*self.levels_).newcomer(rating_M1, scores_N[seen_M, None], "score").parts()
        self.margin_E_ = np.append(self.margin_E_, margin)

    def _remove_expert(self, column: int) -> None:
        self.member_.remove_expert(column)
        kept_E = np.delete(np.arange(len(self.margin_E_)), column)
        self.levels_, self.margin_E_ = Levels(*self.levels_).take(kept_E).parts(), self.margin_E_[kept_E]
