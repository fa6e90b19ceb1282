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
PENALTIES = np.geomspace(1.0, 1e5, 11)  # in queries, for columns of unit variance
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
    penalty_F: Floats

    @classmethod
    def none(cls, experts: int) -> Departures:
        """Nothing departs."""
        level_F = np.zeros(experts + 1)
        return cls((), np.zeros((0, experts + 1), np.float32), level_F, np.zeros((2, experts + 1)), level_F)

    @classmethod
    def learn(
        cls, features: FeatureMap, logged_NE: Floats, suggested_NE: Floats, penalty_F: Floats | None = None
    ) -> Departures:
        """From amounts of any unit, NaN where not logged; those not positive are left out, and sparse signals.

        Penalties are chosen by leave-one-out errors unless they are given.
        """
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
        z_ND = (x_ND - x_ND.mean(axis=0)) * scale_D
        lines_DF, penalty_F = _lines(z_ND, np.where(seen_NE, log_NE, np.nan), penalty_F)
        weights_DF = (lines_DF * scale_D[:, None]).astype(np.float32)
        said_NF = x_ND @ weights_DF
        bounds_2F = np.percentile(said_NF, RANGE, axis=0)
        amount_NF = np.where(np.column_stack([seen_NE, seen_NE.any(axis=1)]), 1.0, 1e-9)
        amount_NF[:, :experts] *= np.maximum(suggested_NE, 1e-300)
        told_NF = amount_NF * np.exp(np.clip(said_NF, *bounds_2F))
        level_F = np.log(amount_NF.sum(axis=0) / told_NF.sum(axis=0))
        return cls(on, weights_DF, level_F, bounds_2F + level_F, penalty_F)

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
        return Departures(self.on, *(array[..., take] for array in self._arrays()))

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
        names = ("weights", "level", "bounds", "penalty")
        return {"on": list(self.on), **dict(zip(names, self._arrays(), strict=True))}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Departures:
        """The inverse of `state`."""
        return cls(tuple(state["on"]), state["weights"], state["level"], state["bounds"], state["penalty"])

    def _arrays(self) -> tuple[Floats, ...]:
        return self.weights_DF, self.level_F, self.bounds_2F, self.penalty_F

    @cached_property
    def _of_experts(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Weights, levels, lower and upper bounds without the pool's, in float32."""
        arrays = (self.weights_DF, self.level_F, *self.bounds_2F)
        weights_DE, level_E, low_E, high_E = (np.ascontiguousarray(a[..., :-1], dtype=np.float32) for a in arrays)
        return weights_DE, level_E, low_E, high_E


def sample(rows: int) -> NDArray[np.intp]:
    """The queries to learn from, in order: all, or `SAMPLE` of them drawn at random."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])


def _lines(z_ND: Floats, log_NE: Floats, penalty_F: Floats | None) -> tuple[Floats, Floats]:
    """The pool's line and each expert's, the pool's added, on columns of unit variance: (D, F), and penalties (F,)."""
    seen_NE = np.isfinite(log_NE)
    any_N = seen_NE.any(axis=1)
    given_F = np.full(log_NE.shape[1] + 1, np.nan) if penalty_F is None else penalty_F
    mean_N1 = np.nanmean(log_NE[any_N], axis=1, keepdims=True)
    pool_D1, last_1 = _ridge(z_ND[any_N], mean_N1, given_F[-1:])
    left_NE = log_NE - z_ND @ pool_D1
    lines_DF, found_F = np.tile(pool_D1, (1, len(given_F))), np.full(len(given_F), last_1[0])
    patterns_NG, group_E = np.unique(seen_NE, axis=1, return_inverse=True)
    for group, seen_N in enumerate(patterns_NG.T):
        if seen_N.sum() >= FEWEST:
            columns = np.flatnonzero(group_E == group)
            own_DE, found_F[columns] = _ridge(z_ND[seen_N], left_NE[np.ix_(seen_N, columns)], given_F[columns])
            lines_DF[:, columns] += own_DE
    return lines_DF, found_F


def _ridge(z_ND: Floats, y_NT: Floats, penalty_T: Floats) -> tuple[Floats, Floats]:
    """Weights (D, T) and penalties (T,) of T targets; the penalties that are given, or the best by leaving one out."""
    from sklearn.linear_model import Ridge, RidgeCV

    chosen = np.isnan(penalty_T).any()
    model = RidgeCV(PENALTIES, alpha_per_target=True) if chosen else Ridge(penalty_T, solver="cholesky")
    weights_TD = model.fit(z_ND, y_NT).coef_.reshape(y_NT.shape[1], -1)
    return weights_TD.T, np.broadcast_to(model.alpha_ if chosen else penalty_T, y_NT.shape[1:])


def _block(features: FeatureMap, names: Sequence[str]) -> Floats:
    """The named signals side by side, (N, D)."""
    if len(names) == 1:
        return np.asarray(features[names[0]])
    blocks = [features[name] for name in names]
    return np.concatenate(blocks, axis=1)  # type: ignore[arg-type]  # `on` names dense signals alone
