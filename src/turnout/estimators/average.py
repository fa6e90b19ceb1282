"""The mean of several estimators, each on its own signals."""

from __future__ import annotations

from typing import ClassVar

from turnout.base import Rule
from turnout.estimators._ensemble import Ensemble
from turnout.estimators._rules import Each
from turnout.estimators.base import Estimator
from turnout.estimators.logistic import Logistic
from turnout.estimators.prototype import Prototypes

__all__ = ["Average"]

DEFAULT = (Logistic(on=("embedding", "tfidf", "format", "length"), fewer=(("tfidf", "length"),)), Prototypes())


class Average(Ensemble):
    """Fits a copy of every member and averages what they predict; a member that mixes models counts once for each.

    The standard error is that of fully correlated members (the mean of theirs), with their disagreement added.
    Limits: every model counts the same; a poor one drags the average down.

    >>> import numpy as np
    >>> from turnout.estimators.constant import Constant
    >>> fitted = Average((Constant(), Constant())).fit({"x": np.zeros((2, 1))}, np.array([[1.0], [0.0]]))
    >>> fitted.predict({"x": np.zeros((1, 1))})[0].tolist()
    [[0.5]]
    """

    rules: ClassVar[dict[str, Rule]] = {"members": Each(Estimator)}

    def __init__(self, members: tuple[Estimator, ...] = DEFAULT) -> None:
        self.members = members

    def _shares(self) -> list[float]:
        total = sum(member.models for member in self.members_)
        return [member.models / total for member in self.members_]
