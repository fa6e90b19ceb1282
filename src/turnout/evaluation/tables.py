"""One side of a split as plain arrays, and what a partial log is worth per query and expert.

Shape letters: N queries, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from turnout.errors import LogError
from turnout.features import Floats

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog


@dataclass(frozen=True)
class Table:
    """Scores in [0, 1] and costs in US dollars per request, shape (N, E), NaN where not observed.

    `value_NE` is what choosing expert e on query n is worth: the score itself on a full log; on a partial one the
    doubly robust pseudo-outcome, unbiased for the score if the propensities are right. `spend_NE` likewise for cost.
    """

    experts: tuple[str, ...]
    texts: Sequence[str]
    group_N: NDArray[np.int64]
    score_NE: Floats
    cost_NE: Floats | None = None
    tasks: Sequence[str] | None = None
    value_NE: Floats = None  # type: ignore[assignment]  # set in __post_init__ where not given
    spend_NE: Floats | None = None

    def __post_init__(self) -> None:
        if self.value_NE is None:
            object.__setattr__(self, "value_NE", _complete(self.score_NE, self.tasks))
        if self.spend_NE is None and self.cost_NE is not None:
            object.__setattr__(self, "spend_NE", _complete(self.cost_NE, self.tasks))

    @classmethod
    def of(cls, log: OutcomeLog) -> Self:
        """The arrays of a log. Raises LogError where an expert was never observed."""
        score_NE = log.matrix()
        missing = [name for e, name in enumerate(log.experts) if not np.isfinite(score_NE[:, e]).any()]
        if missing:
            raise LogError(f"no score at all for {', '.join(missing)}; every expert needs at least one")
        cost_NE = log.matrix("cost") if log.has("cost") else None
        propensity_NE = log.matrix("propensity") if log.has("propensity") else None
        tasks = log.tasks
        return cls(
            experts=tuple(log.experts),
            texts=log.texts,
            group_N=np.asarray(log.groups(), dtype=np.int64),
            score_NE=score_NE,
            cost_NE=cost_NE,
            tasks=tasks,
            value_NE=_complete(score_NE, tasks, propensity_NE),
            spend_NE=None if cost_NE is None else _complete(cost_NE, tasks, propensity_NE),
        )

    def __len__(self) -> int:
        return len(self.score_NE)

    @property
    def full(self) -> bool:
        """Whether every expert answered every query."""
        return bool(np.isfinite(self.score_NE).all())

    def rows(self, index_N: NDArray[Any]) -> Self:
        """The chosen queries, in the given order."""
        return replace(
            self,
            texts=[self.texts[i] for i in np.arange(len(self))[index_N].tolist()],
            group_N=self.group_N[index_N],
            score_NE=self.score_NE[index_N],
            cost_NE=None if self.cost_NE is None else self.cost_NE[index_N],
            tasks=None if self.tasks is None else [self.tasks[i] for i in np.arange(len(self))[index_N].tolist()],
            value_NE=self.value_NE[index_N],
            spend_NE=None if self.spend_NE is None else self.spend_NE[index_N],
        )


def _complete(seen_NE: Floats, tasks: Sequence[str] | None, propensity_NE: Floats | None = None) -> Floats:
    """The matrix itself where it is full, else doubly robust pseudo-outcomes."""
    if np.isfinite(seen_NE).all():
        return seen_NE
    return pseudo_outcomes(seen_NE, _observed_rate(seen_NE, propensity_NE), task_means(seen_NE, tasks))


def pseudo_outcomes(seen_NE: Floats, propensity_NE: Floats, guess_NE: Floats) -> Floats:
    """Doubly robust pseudo-outcomes, guess + observed / propensity · (seen − guess) (Dudík et al., 2011), shape (N, E).

    Their mean over any choice that ignores the row's own outcome is unbiased where either the propensity of being
    observed or the guess is right; the guess must not use the row's own outcome.

    Limits: single values leave [0, 1], and maxima over experts (an oracle) of them mean nothing.

    >>> pseudo_outcomes(np.array([[1.0, np.nan]]), np.array([[0.5, 0.5]]), np.array([[0.6, 0.3]])).tolist()
    [[1.4, 0.3]]
    """
    observed_NE = np.isfinite(seen_NE)
    surprise_NE = np.where(observed_NE, np.nan_to_num(seen_NE) - guess_NE, 0.0)
    return guess_NE + surprise_NE / np.where(observed_NE, propensity_NE, 1.0)


def task_means(seen_NE: Floats, tasks: Sequence[str] | None, prior: float = 5.0) -> Floats:
    """A guess per cell: the expert's mean over the other rows of the task, shrunk to its mean over the other rows."""
    observed_NE = np.isfinite(seen_NE)
    filled_NE = np.where(observed_NE, seen_NE, 0.0)
    code_N = np.unique(np.asarray(tasks), return_inverse=True)[1] if tasks else np.zeros(len(seen_NE), dtype=np.intp)
    sums_TE = np.zeros((int(code_N.max()) + 1, seen_NE.shape[1]))
    counts_TE = np.zeros_like(sums_TE)
    np.add.at(sums_TE, code_N, filled_NE)
    np.add.at(counts_TE, code_N, observed_NE)
    others_NE = counts_TE.sum(axis=0) - observed_NE
    overall_NE = (sums_TE.sum(axis=0) - filled_NE) / np.maximum(others_NE, 1)
    return np.asarray((sums_TE[code_N] - filled_NE + prior * overall_NE) / (counts_TE[code_N] - observed_NE + prior))


def _observed_rate(seen_NE: Floats, propensity_NE: Floats | None) -> Floats:
    """Logged propensities where there are any, else the share of observed rows per expert (missing at random)."""
    observed_NE = np.isfinite(seen_NE)
    rate_NE = np.broadcast_to(observed_NE.mean(axis=0), seen_NE.shape)
    if propensity_NE is None:
        return rate_NE
    return np.where(np.isfinite(propensity_NE), propensity_NE, rate_NE)
