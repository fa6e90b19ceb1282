"""The mean of several estimators, each on its own signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from turnout.base import Rule
from turnout.estimators._rules import Each
from turnout.estimators.base import Estimator
from turnout.estimators.logistic import Logistic
from turnout.estimators.prototype import Prototypes
from turnout.features import FeatureMap, Floats

__all__ = ["Average"]

DEFAULT = (Logistic(on=("embedding", "tfidf", "format", "length"), fewer=(("tfidf", "length"),)), Prototypes())


class Average(Estimator):
    """Fits a copy of every member and averages what they predict; a member that mixes models counts once for each.

    The standard error is that of fully correlated members (the mean of theirs), with their disagreement added.
    Limits: every model counts the same; a poor one drags the average down.

    >>> from turnout.estimators.constant import Constant
    >>> fitted = Average((Constant(), Constant())).fit({"x": np.zeros((2, 1))}, np.array([[1.0], [0.0]]))
    >>> fitted.predict({"x": np.zeros((1, 1))})[0].tolist()
    [[0.5]]
    """

    rules: ClassVar[dict[str, Rule]] = {"members": Each(Estimator)}

    def __init__(self, members: tuple[Estimator, ...] = DEFAULT) -> None:
        self.members = members

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for member in self.members for name in member.signals))

    def check(self) -> None:
        """Raise ParameterError for the first parameter, of this estimator or a member, that breaks its rule."""
        super().check()
        for member in self.members:
            member.check()

    def clone(self, **changes: object) -> Self:
        """An unfitted copy, its members copied too, with some parameters changed."""
        copied: dict[str, Any] = {"members": tuple(member.clone() for member in self.members), **changes}
        return type(self)(**copied)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self.members_ = tuple(
            member.clone().fit(features, scores_NE, weights_NE=weights_NE, tasks=tasks) for member in self.members
        )

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        pairs = [member.predict(features) for member in self.members_]
        total = sum(member.models for member in self.members_)
        shares = [member.models / total for member in self.members_]
        mean_NE = np.asarray(sum(share * mean for share, (mean, _) in zip(shares, pairs, strict=True)))
        se_NE = np.asarray(sum(share * se for share, (_, se) in zip(shares, pairs, strict=True)))
        apart_NE = sum((share * (mean - mean_NE)) ** 2 for share, (mean, _) in zip(shares, pairs, strict=True))
        return np.clip(mean_NE, 0.0, 1.0), np.sqrt(se_NE * se_NE + apart_NE)

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        for member in self.members_:
            member.add_expert(features, scores_N)

    def _remove_expert(self, column: int) -> None:
        for member in self.members_:
            member.remove_expert(column)
