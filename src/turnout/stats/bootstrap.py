"""Cluster bootstrap: whole groups are drawn again, so that near-duplicates do not count as independent evidence.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals; resampling of whole
clusters as in Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8.
Shape letters: N rows (queries), G groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CELLS = 2_000_000  # group draws held at once: 16 MB
_MANY = 50_000  # groups from which a mean's interval is computed, not drawn: 2,000 draws would take minutes of a fit


class Interval(NamedTuple):
    """A mean and the ends of its interval (95 % unless asked otherwise)."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    difference_N: NDArray[np.floating[Any]],
    groups_N: NDArray[np.integer[Any]] | None = None,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The mean of per-query differences with a percentile interval over resampled groups; NaN rows are ignored.

    `groups_N` None makes every row its own group. From 50,000 groups on it is the normal interval with the groups' own
    standard error, which the percentiles come to: what is left between them is less than 2,000 draws' own noise.
    Raises ValueError where no row is finite.

    Limits: with fewer than some twenty groups a percentile interval is too narrow.

    >>> gain = np.where(np.arange(400) % 4 == 0, 1.0, 0.0)
    >>> paired_bootstrap(gain, seed=0)
    Interval(mean=0.25, low=0.2075, high=0.2925)
    """
    values_N = np.asarray(difference_N, dtype=np.float64)
    groups_N = np.arange(len(values_N)) if groups_N is None else np.asarray(groups_N)
    if values_N.shape != groups_N.shape or values_N.ndim != 1:
        raise ValueError(f"values and groups must both have shape (N,), got {values_N.shape} and {groups_N.shape}")
    seen_N = np.isfinite(values_N)
    if not seen_N.any():
        raise ValueError("no finite value to average")
    _, group_N = np.unique(groups_N[seen_N], return_inverse=True)
    sum_G = np.bincount(group_N, weights=values_N[seen_N])
    count_G = np.bincount(group_N).astype(np.float64)
    if len(sum_G) >= _MANY:
        return _normal(sum_G, count_G, level)
    means = np.concatenate([sum_G[at].sum(axis=1) / count_G[at].sum(axis=1) for at in _draw(len(sum_G), draws, seed)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sum_G.sum() / count_G.sum()), float(low), float(high))


def _normal(sum_G: NDArray[Any], count_G: NDArray[Any], level: float) -> Interval:
    """Mean and normal interval of a ratio of sums over independent groups (linearised)."""
    mean = float(sum_G.sum() / count_G.sum())
    error = float(np.sqrt(((sum_G - mean * count_G) ** 2).sum()) / count_G.sum())
    away = NormalDist().inv_cdf((1 + level) / 2) * error
    return Interval(mean, mean - away, mean + away)


def bootstrap_mean(
    values_N: NDArray[np.floating[Any]],
    groups_N: NDArray[np.integer[Any]] | None = None,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The mean of N values with its interval; the same computation as `paired_bootstrap`."""
    return paired_bootstrap(values_N, groups_N, seed=seed, draws=draws, level=level)


def bootstrap_ratio(
    above_N: NDArray[np.floating[Any]],
    below_N: NDArray[np.floating[Any]],
    groups_N: NDArray[np.integer[Any]] | None = None,
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Σ above / Σ below with a percentile interval over resampled groups, both sums drawn together.

    Raises ValueError where the whole sum below is not positive; draws in which it is not are left out.

    >>> bootstrap_ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]), seed=0)
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    groups_N = np.arange(len(above_N)) if groups_N is None else np.asarray(groups_N)
    _, group_N = np.unique(groups_N, return_inverse=True)
    above_G, below_G = np.bincount(group_N, weights=above_N), np.bincount(group_N, weights=below_N)
    if not below_G.sum() > 0:
        raise ValueError("nothing to divide by")
    sums = [(above_G[at].sum(axis=1), below_G[at].sum(axis=1)) for at in _draw(len(above_G), draws, seed)]
    above, below = (np.concatenate(part) for part in zip(*sums, strict=True))
    low, high = np.quantile(above[below > 0] / below[below > 0], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(above_G.sum() / below_G.sum()), float(low), float(high))


def bootstrap_counts(
    groups_N: NDArray[np.integer[Any]], *, seed: int, draws: int = 2000
) -> Iterator[NDArray[np.float64]]:
    """For each draw, how often each of N rows counts: weights for statistics that are no mean (APGR, AIQ)."""
    _, group_N = np.unique(groups_N, return_inverse=True)
    groups = int(group_N.max()) + 1
    for at in _draw(groups, draws, seed):
        for row in at:
            yield np.bincount(row, minlength=groups).astype(np.float64)[group_N]


def _draw(groups: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Blocks of shape (some draws, G) of group numbers drawn with replacement."""
    rng = np.random.default_rng(seed)
    block = max(1, _CELLS // groups)
    for start in range(0, draws, block):
        yield rng.integers(groups, size=(min(block, draws - start), groups))
