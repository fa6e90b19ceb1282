"""A weighted mean of several estimators, the weights learned from what each says about queries it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np

from turnout.base import Number, Rule
from turnout.errors import ParameterError
from turnout.estimators._contenders import nearness
from turnout.estimators._curds_and_whey import CurdsAndWhey
from turnout.estimators._ensemble import Ensemble, pooled, settled
from turnout.estimators._rules import Each, Shares
from turnout.estimators.base import Estimator
from turnout.estimators.logistic import Logistic
from turnout.estimators.prototype import Prototypes
from turnout.estimators.task_mixture import TaskMixture
from turnout.estimators.trees import Trees
from turnout.features import FeatureMap, Floats, take

__all__ = ["Stack"]

UNTASKED = (
    Logistic(on=("embedding", "tfidf", "format", "length"), fewer=(("tfidf", "length"),)),
    Logistic(on=("embedding", "arithmetic")),
    Prototypes(),
)
MEMBERS = (*UNTASKED, TaskMixture())
SENTENCES = (  # the members where a sentence encoder is at hand, the last one again for logs of several tasks
    UNTASKED[0],
    Logistic(on=("sentence", "arithmetic")),
    Prototypes("sentence"),
    Trees(on=("sentence", "format", "length")),
    TaskMixture(on=("sentence", "tfidf", "format")),
)
ROUNDS = 3  # who contends follows from the weights, which follow from who contends
FEWEST = 10  # queries per fold below which weights are not learned
LEAST = 0.03  # a weight below which a member is left out: it would cost time in every decision
SUM = 1e3  # how much more the sum of the weights counts than the error, before it is made exact


class Lesson(NamedTuple):
    """What held-out predictions teach a stack: its members' weights, and what the experts' means say of each other.

    `across` None leaves every expert its own mean.
    """

    weight_M: Floats
    across: CurdsAndWhey | None

    def combined(self, said_M2NE: Floats) -> tuple[Floats, Floats]:
        """Mean and standard error (N, E) of members that say `said_M2NE`: means, then standard errors."""
        told = pooled(self.weight_M, said_M2NE)
        return settled(*(told if self.across is None else self.across.apply(*told)))


class Stack(Ensemble):
    """Stacked generalisation (Wolpert, 1992): weights >= 0 that sum to one (Breiman, 1996), chosen by cross-fitting.

    The members predict each of `folds` parts of the log from the others; the weights minimise the squared error of
    their mean in the differences between contending experts (plain squared error where no query has two observed
    experts). `even` is how many outcomes' worth of mean squared error is added to every member's own, which pulls
    towards equal weights, less in a larger log: 0 leaves the error alone, and a large value makes an `Average`. What
    the weighted means of all experts say of one expert's score is learned from the same predictions ("curds and whey",
    Breiman and Friedman, 1997): members err together in what sets two experts apart. The ridge penalty `across` holds
    every expert to its own mean; a large value leaves it there, as more than 64 experts do. Then every member that
    counts is fitted on everything. The standard error is as in `Average`, with the learned weights. Given `weights`,
    nothing is learned; nor by a stack that `teach` told: a `Router` cross-fits in any case, and learns from that.

    Limits: by itself, fitting takes about `folds` times as long as an average; the parts are drawn at random, so that
    near-duplicates in the log favour members that remember; members that are about equally good and alike gain
    nothing over their plain mean. Under 10 queries per fold the weights stay equal. Members go on predicting an expert
    that is removed, as the others' estimates may rest on it; a newcomer is known by its own mean alone.

    >>> from turnout.estimators.constant import Constant
    >>> from turnout.estimators.ridge import Ridge
    >>> x_ND = np.linspace(-1, 1, 60)[:, None]
    >>> scores_NE = np.hstack([0.5 + 0.4 * x_ND, 0.5 - 0.4 * x_ND])
    >>> Stack((Constant(), Ridge(on=("x",))), even=0.0).fit({"x": x_ND}, scores_NE).weight_M_.round(2).tolist()
    [0.0, 1.0]
    """

    across_: tuple[Floats, Floats] | None = None  # shares and shifts, once saved a plain tuple
    _taught: Lesson | None = None

    rules: ClassVar[dict[str, Rule]] = {
        "members": Each(Estimator),
        "folds": Number(2, 20, integer=True),
        "even": Number(0.0, 1e9),
        "across": Number(1e-3, 1e9),
        "seed": Number(0, 2**32 - 1, integer=True),
        "weights": Shares(),
    }

    def __init__(
        self,
        members: tuple[Estimator, ...] = MEMBERS,
        folds: int = 3,
        even: float = 150.0,
        seed: int = 0,
        weights: tuple[float, ...] | None = None,
        *,
        across: float = 40.0,
    ) -> None:
        self.members, self.folds, self.even, self.seed, self.weights = members, folds, even, seed, weights
        self.across = across

    @property
    def signals(self) -> tuple[str, ...]:
        known_M = self.weight_M_ if hasattr(self, "weight_M_") else self._told().weight_M
        used = [member for member, weight in zip(self.members, known_M, strict=False) if weight > 0]
        return tuple(dict.fromkeys(name for member in used for name in member.signals))

    def check(self) -> None:
        """Raise ParameterError for the first parameter that breaks its rule, and for weights of another number."""
        super().check()
        if self.weights is not None and len(self.weights) != len(self.members):
            raise ParameterError(f"Stack: `weights` must be one per member, {len(self.members)}, got {self.weights!r}")

    def _shares(self) -> Floats:
        weight_M = self.weight_M_
        # members without weight were not kept
        return weight_M if len(self.members_) == len(weight_M) else weight_M[weight_M > 0]

    def clone(self, **changes: object) -> Self:
        """An unfitted copy; one without changes has been taught the same."""
        made = super().clone(**changes)
        made._taught = None if changes else self._taught
        return made

    def learn(self, held_MNE: Floats, scores_NE: Floats, weights_NE: Floats) -> Lesson:
        """What the members say about queries that they never saw teaches this; NaN where one says nothing."""
        weight_M = np.full(len(held_MNE), 1.0 / len(held_MNE))
        even = self.even / max(1, int((weights_NE > 0).sum()))
        for _ in range(ROUNDS):
            weight_M = _least_error(_products(held_MNE, weight_M, scores_NE, weights_NE), even)
        weight_M = np.where(weight_M < LEAST, 0.0, weight_M)
        weight_M /= weight_M.sum()
        mean_NE = np.clip(np.tensordot(weight_M, held_MNE, 1), 0.0, 1.0)
        return Lesson(weight_M, CurdsAndWhey.learn(mean_NE, scores_NE, weights_NE, self.across))

    def teach(self, lesson: Lesson) -> None:
        """The next `fit`, of this stack or a copy, takes this instead of learning it."""
        self._taught = lesson

    def _told(self) -> Lesson:
        """What is known before anything is learned: a lesson, given weights, or equal ones."""
        count = len(self.members)
        given = np.full(count, 1.0 / count) if self.weights is None else np.array(self.weights, dtype=np.float64)
        return self._taught or Lesson(given, None)

    def _fit(self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None) -> None:
        lesson = self._told()
        learns = self._taught is None and self.weights is None and len(self.members) > 1
        if learns and len(scores_NE) >= FEWEST * self.folds:
            lesson = self.learn(self._held_out(features, scores_NE, weights_NE, tasks), scores_NE, weights_NE)
        self.weight_M_, self.across_ = lesson
        self.members_ = tuple(
            member.clone().fit(features, scores_NE, weights_NE=weights_NE, tasks=tasks)
            for member, weight in zip(self.members, self.weight_M_, strict=True)
            if weight > 0
        )

    @property
    def _across(self) -> CurdsAndWhey | None:
        return None if self.across_ is None else CurdsAndWhey(*self.across_)

    def _together(self, said_M2NE: Floats) -> tuple[Floats, Floats]:
        return Lesson(self._shares(), self._across).combined(said_M2NE)

    def _add_expert(self, features: FeatureMap, scores_N: Floats) -> None:
        super()._add_expert(features, scores_N)
        self.across_ = self._across and self._across.with_expert()

    def _remove_expert(self, column: int) -> None:
        if self._across is None:
            super()._remove_expert(column)
        else:
            self.across_ = self._across.without(column)

    def _held_out(
        self, features: FeatureMap, scores_NE: Floats, weights_NE: Floats, tasks: Sequence[str] | None
    ) -> Floats:
        """What every member, fitted on the other folds, says of a fold; NaN for an expert not observed in those."""
        held_MNE = np.full((len(self.members), *scores_NE.shape), np.nan)
        fold_N = np.random.default_rng(self.seed).permutation(len(scores_NE)) % self.folds
        for fold in range(self.folds):
            fit_I, ask_I = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
            known_E = np.flatnonzero((weights_NE[fit_I] > 0).any(axis=0))
            if not len(known_E):
                continue
            fit, ask, cell = take(features, fit_I), take(features, ask_I), np.ix_(fit_I, known_E)
            named = None if tasks is None else [tasks[i] for i in fit_I.tolist()]
            for m, member in enumerate(self.members):
                fitted = member.clone().fit(fit, scores_NE[cell], weights_NE=weights_NE[cell], tasks=named)
                held_MNE[m][np.ix_(ask_I, known_E)] = fitted.predict(ask)[0]
        return held_MNE


def _products(held_MNE: Floats, weight_M: Floats, scores_NE: Floats, weights_NE: Floats) -> Floats:
    """Inner products (M, M) of the members' errors in the differences between contenders, as the weighted mean sees it.

    As the weights sum to one, the error of the weighted mean is the quadratic form of these products.
    """
    seen_NE = (weights_NE > 0) & np.isfinite(held_MNE).all(axis=0)
    left_MNE = np.where(seen_NE, scores_NE - held_MNE, 0.0)
    several_N = seen_NE.sum(axis=1) > 1
    if not several_N.any():
        rooted_MNE = left_MNE * np.sqrt(weights_NE)
    else:
        left_MNE = left_MNE[:, several_N]
        guess_NE = np.where(seen_NE, np.tensordot(weight_M, held_MNE, 1), -np.inf)[several_N]
        near_NE = nearness(guess_NE)
        shared_MN1 = (near_NE * left_MNE).sum(axis=2, keepdims=True)
        rooted_MNE = np.sqrt(near_NE) * (left_MNE - shared_MN1)
    rooted_MF = rooted_MNE.reshape(len(rooted_MNE), -1)
    return np.asarray(rooted_MF @ rooted_MF.T)


def _least_error(products_MM: Floats, even: float) -> Floats:
    """The weights >= 0, summing to one, of the least quadratic form, by non-negative least squares.

    `even` times the mean square is added to the diagonal; members that never err keep equal weights.
    """
    from scipy.optimize import nnls

    count, scale = len(products_MM), float(np.trace(products_MM)) / len(products_MM)
    if not scale > 0:
        return np.full(count, 1.0 / count)
    padded_MM = products_MM / scale + (even + 1e-9) * np.eye(count)
    size = SUM * np.sqrt(1.0 + even)
    root_MM = np.linalg.cholesky(padded_MM).T
    weight_M, _ = nnls(np.vstack([root_MM, np.full(count, size)]), np.append(np.zeros(count), size))
    return np.asarray(weight_M / weight_M.sum())
