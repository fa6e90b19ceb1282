"""How a request's cost departs from what its prompt's size suggests, told by dense signals.

    log(logged / suggested) = b_e + x · (w_pool + w_e)        ridge regression, penalties by leave-one-out errors

The pool's line is learned first, each expert's own from what it leaves over, so that an expert with few answers departs
as the pool does. Levels are such that every expert's suggested total stays: an exponential's mean would drift.

Shape letters: N queries, E experts, D columns of all signals, F = E + 1 lines, the last the pool's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import FeatureMap, Floats, Sparse

SAMPLE = 3000  # queries that the lines are learned from
FEWEST = 30  # answers below which there is no line to learn
PENALTIES = np.geomspace(1.0, 1e5, 16)  # in queries, for columns of unit variance
RANGE = (1.0, 99.0)  # percentiles of what was fitted; beyond them a line says no more


@dataclass(frozen=True)
class Departures:
    """Factors on suggested amounts. Immutable; `on` names the signals, none where nothing was learned.

    `bounds_2F` limits the logarithm of a factor to what the log bore out.

    >>> x_ND = np.linspace(-1, 1, 100)[:, None]
    >>> found = Departures.learn({"x": x_ND}, np.exp(x_ND), np.ones((100, 1)))
    >>> ratio = found.factors({"x": np.array([[0.5]])}) / found.factors({"x": np.array([[-0.5]])})
    >>> ratio.round(2).tolist()
    [[2.72]]

    Source: Duan, "Smearing estimate: a nonparametric retransformation method", 1983, in its mean-preserving form.
    Limits: linear in its signals on a logarithmic scale.
    """

    on: tuple[str, ...]
    weights_DF: Floats
    level_F: Floats
    bounds_2F: Floats

    @classmethod
    def none(cls, experts: int) -> Departures:
        """Nothing departs."""
        return cls((), np.zeros((0, experts + 1), np.float32), np.zeros(experts + 1), np.zeros((2, experts + 1)))

    @classmethod
    def learn(cls, features: FeatureMap, logged_NE: Floats, suggested_NE: Floats) -> Departures:
        """From amounts of any unit, NaN where not logged; those not positive are left out, and sparse signals."""
        on = tuple(name for name, values in features.items() if not isinstance(values, Sparse) and values.shape[1])
        seen_NE = np.isfinite(logged_NE) & (logged_NE > 0) & (suggested_NE > 0)
        experts = seen_NE.shape[1]
        if not on or seen_NE.any(axis=1).sum() < FEWEST:
            return cls.none(experts)
        x_ND = _block(features, on).astype(np.float64)
        spread_D = x_ND.std(axis=0)
        scale_D = np.where(spread_D > 1e-6, 1.0 / np.maximum(spread_D, 1e-6), 0.0)
        log_NE = np.log(np.where(seen_NE, logged_NE, 1.0) / np.where(seen_NE, suggested_NE, 1.0))
        log_NE -= log_NE.sum(axis=0) / np.maximum(seen_NE.sum(axis=0), 1)
        lines_DF = _lines((x_ND - x_ND.mean(axis=0)) * scale_D, np.where(seen_NE, log_NE, np.nan))
        weights_DF = (lines_DF * scale_D[:, None]).astype(np.float32)
        said_NF = x_ND @ weights_DF
        bounds_2F = np.percentile(said_NF, RANGE, axis=0)
        amount_NF = np.where(np.column_stack([seen_NE, seen_NE.any(axis=1)]), 1.0, 1e-9)
        amount_NF[:, :experts] *= np.maximum(suggested_NE, 1e-300)
        told_NF = amount_NF * np.exp(np.clip(said_NF, *bounds_2F))
        level_F = np.log(amount_NF.sum(axis=0) / told_NF.sum(axis=0))
        return cls(on, weights_DF, level_F, bounds_2F + level_F)

    def factors(self, features: FeatureMap) -> Floats:
        """By what to multiply each expert's suggestion, (N, E)."""
        weights_DE, level_E, low_E, high_E = self._of_experts
        said_NE = _block(features, self.on) @ weights_DE
        said_NE += level_E
        np.minimum(np.maximum(said_NE, low_E, out=said_NE), high_E, out=said_NE)
        return np.exp(said_NE, out=said_NE)

    def select(self, columns: Sequence[int]) -> Departures:
        """The chosen experts, in the given order."""
        take = [*columns, -1]
        return Departures(self.on, self.weights_DF[:, take], self.level_F[take], self.bounds_2F[:, take])

    def typical(self, experts: int) -> Departures:
        """Newcomers that depart as the pool does."""
        return self.select([-1] * experts)

    def append(self, other: Departures) -> Departures:
        """These experts and then the other's, which depart as this pool does if the other reads other signals."""
        if other.on != self.on:
            other = self.typical(len(other.level_F) - 1)
        pairs = zip(self._arrays(), other._arrays(), strict=True)
        joined = (np.concatenate([a[..., :-1], b[..., :-1], a[..., -1:]], axis=-1) for a, b in pairs)
        return Departures(self.on, *joined)

    def state(self) -> dict[str, Any]:
        """Plain values and arrays, for saving."""
        return {"on": list(self.on), "weights": self.weights_DF, "level": self.level_F, "bounds": self.bounds_2F}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Departures:
        """The inverse of `state`."""
        return cls(tuple(state["on"]), state["weights"], state["level"], state["bounds"])

    def _arrays(self) -> tuple[Floats, Floats, Floats]:
        return self.weights_DF, self.level_F, self.bounds_2F

    @cached_property
    def _of_experts(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Weights, levels, lower and upper bounds without the pool's, in float32."""
        arrays = (self.weights_DF, self.level_F, *self.bounds_2F)
        weights_DE, level_E, low_E, high_E = (np.ascontiguousarray(a[..., :-1], dtype=np.float32) for a in arrays)
        return weights_DE, level_E, low_E, high_E


def sample(rows: int) -> NDArray[np.intp]:
    """The queries to learn from, in order: all, or `SAMPLE` of them drawn at random."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])


def _lines(z_ND: Floats, log_NE: Floats) -> Floats:
    """The pool's line and each expert's, the pool's added, on columns of unit variance: (D, F)."""
    from sklearn.linear_model import RidgeCV

    seen_NE = np.isfinite(log_NE)
    any_N = seen_NE.any(axis=1)
    mean_N = np.nanmean(log_NE[any_N], axis=1)
    pool_D = RidgeCV(PENALTIES).fit(z_ND[any_N], mean_N).coef_
    left_NE = log_NE - (z_ND @ pool_D)[:, None]
    lines_DF = np.tile(pool_D[:, None], (1, log_NE.shape[1] + 1))
    patterns_NG, group_E = np.unique(seen_NE, axis=1, return_inverse=True)
    for group, seen_N in enumerate(patterns_NG.T):
        if seen_N.sum() >= FEWEST:
            columns = np.flatnonzero(group_E == group)
            own = RidgeCV(PENALTIES, alpha_per_target=True).fit(z_ND[seen_N], left_NE[np.ix_(seen_N, columns)])
            lines_DF[:, columns] += own.coef_.reshape(len(columns), -1).T
    return lines_DF


def _block(features: FeatureMap, names: Sequence[str]) -> Floats:
    """The named signals side by side, (N, D)."""
    if len(names) == 1:
        return np.asarray(features[names[0]])
    blocks = [features[name] for name in names]
    return np.concatenate(blocks, axis=1)  # type: ignore[arg-type]  # `on` names dense signals alone
