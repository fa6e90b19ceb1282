"""What estimators made of estimators share: members fitted on everything, and a mean weighted by shares.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from turnout.estimators._model import LinearModel, asked
from turnout.estimators.base import Estimator
from turnout.features import FeatureMap, Floats


class Ensemble(Estimator):
    """A weighted mean of `members`. Override `_shares`, and `_fit` where the weights are learned.

    The standard error is that of fully correlated members (the mean of theirs), with their disagreement added.
    """

    members: tuple[Estimator, ...]
    members_: tuple[Estimator, ...]

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for member in self.members for name in member.signals))

    def check(self) -> None:
        """Raise ParameterError for the first parameter, of this estimator or a member, that breaks its rule."""
        super().check()
        for member in self.members:
            member.check()

    def _shares(self) -> Floats | Sequence[float]:
        """The weights of `members_`, >= 0 and summing to one."""
        raise NotImplementedError

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        self.members_ = tuple(
            member.clone().fit(features, scores_NE, weights_NE=weights_NE, tasks=tasks) for member in self.members
        )

    def _predict(self, features: FeatureMap) -> tuple[Floats, Floats]:
        said: list[tuple[Floats, Floats] | None] = [None] * len(self.members_)
        alike = self._alike()
        if alike:
            models = [cast(LinearModel, self.members_[m]) for m in alike]
            predictor_NME, se_NME = asked(self, models, features).linear(features)
            mean_NME = models[0].link(predictor_NME)
            for at, m in enumerate(alike):
                said[m] = mean_NME[:, at], se_NME[:, at]
        told = [pair or member.predict(features) for pair, member in zip(said, self.members_, strict=True)]
        together = np.concatenate([part_NE for pair in told for part_NE in pair], dtype=np.float64)
        return self._together(together.reshape(len(told), 2, *told[0][0].shape))

    def _together(self, said_M2NE: Floats) -> tuple[Floats, Floats]:
        """Mean and standard error (N, E) of members that say `said_M2NE`: means, then standard errors."""
        return settled(*pooled(np.asarray(self._shares()), said_M2NE))

    def _alike(self) -> list[int]:
        """Members that one product answers for: linear models of one class."""
        kind = next((type(member) for member in self.members_ if isinstance(member, LinearModel)), None)
        return [m for m, member in enumerate(self.members_) if type(member) is kind]

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        for member in self.members_:
            member.add_expert(features, scores_N)

    def _remove_expert(self, column: int) -> None:
        for member in self.members_:
            member.remove_expert(column)


def pooled(share_M: Floats, said_M2NE: Floats) -> tuple[Floats, Floats]:
    """Mean and its variance (N, E) of members that say `said_M2NE`: means, then standard errors."""
    members = len(share_M)
    mean_NE, se_NE = (share_M @ said_M2NE.reshape(members, -1)).reshape(said_M2NE.shape[1:])
    apart_MNE = said_M2NE[:, 0] - mean_NE
    apart_MNE *= apart_MNE
    disagreement_NE = ((share_M * share_M) @ apart_MNE.reshape(members, -1)).reshape(mean_NE.shape)
    return mean_NE, se_NE * se_NE + disagreement_NE


def settled(mean_NE: Floats, variance_NE: Floats) -> tuple[Floats, Floats]:
    """The mean within [0, 1], and its standard error."""
    return np.minimum(np.maximum(mean_NE, 0.0), 1.0), np.sqrt(variance_NE)
