"""Figures of merit on arrays, each with its source.

Shape letters: N queries, E experts, T thresholds, P operating points, V hull vertices, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats

Choice = NDArray[np.integer[Any]]


def chosen(values_NE: Floats, choice_N: Choice) -> Floats:
    """The value of each query's chosen expert, shape (N,).

    >>> chosen(np.array([[0.0, 1.0], [0.5, 0.2]]), np.array([1, 0])).tolist()
    [1.0, 0.5]
    """
    return np.take_along_axis(values_NE, choice_N[:, None], axis=1)[:, 0]


def share(choice_N: Choice, experts: int) -> Floats:
    """The fraction of queries that each expert serves, shape (E,).

    >>> share(np.array([0, 2, 2, 2]), 3).tolist()
    [0.25, 0.0, 0.75]
    """
    return np.bincount(choice_N, minlength=experts) / max(len(choice_N), 1)


def sweep(quality_NE: Floats, cost_NE: Floats, lambdas: Floats) -> NDArray[np.intp]:
    """Choices of best utility `quality − λ·cost` for P multipliers (score per US dollar), shape (N, P).

    Ties go to the cheaper expert, then to the earlier one, as `Policy.choose` does.
    """
    choice_NP = np.empty((len(quality_NE), len(lambdas)), dtype=np.intp)
    for p, lam in enumerate(lambdas):
        utility_NE = quality_NE - lam * cost_NE
        best_N1 = utility_NE.max(axis=1, keepdims=True)
        choice_NP[:, p] = np.where(utility_NE >= best_N1, cost_NE, np.inf).argmin(axis=1)
    return choice_NP


def lambda_grid(quality_NE: Floats, cost_NE: Floats, points: int = 24) -> Floats:
    """Multipliers from the training side that span the trade-off: 0, then log-spaced, ascending, shape (P,).

    The range covers the 2 % to 98 % quantiles of the pairwise trades |Δquality| / |Δcost| that estimates offer. Costs
    that differ by rounding alone offer none.
    """
    best_N = quality_NE.argmax(axis=1)
    gain_NE = chosen(quality_NE, best_N)[:, None] - quality_NE
    best_cost_N1 = chosen(cost_NE, best_N)[:, None]
    saving_NE = best_cost_N1 - cost_NE
    offered_NE = (saving_NE > 1e-9 * best_cost_N1) & (gain_NE > 0)
    trades = gain_NE[offered_NE] / saving_NE[offered_NE]
    if not trades.size:
        return np.zeros(1)
    low, high = np.quantile(trades, [0.02, 0.98])
    return np.concatenate([[0.0], np.geomspace(low, max(high * 4, low * 1.001), points - 1)])


def hull(cost_P: Floats, quality_P: Floats) -> NDArray[np.intp]:
    """Indices of the vertices of the non-decreasing convex hull, by rising cost (RouterBench, arXiv 2403.12031).

    A point on the hull is reachable by tossing a coin between its two neighbours.

    >>> hull(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.2, 0.3, 0.6, 0.5])).tolist()
    [0, 2]
    """
    kept: list[int] = []
    for p in np.lexsort((-quality_P, cost_P)).tolist():
        if kept and quality_P[p] <= quality_P[kept[-1]]:
            continue
        while len(kept) >= 2 and _below(cost_P, quality_P, kept[-2], kept[-1], p):
            kept.pop()
        kept.append(p)
    return np.array(kept, dtype=np.intp)


def _below(cost_P: Floats, quality_P: Floats, left: int, middle: int, right: int) -> bool:
    run, rise = cost_P[right] - cost_P[left], quality_P[right] - quality_P[left]
    return bool((quality_P[middle] - quality_P[left]) * run <= rise * (cost_P[middle] - cost_P[left]))


def area(cost_P: Floats, quality_P: Floats, low: float, high: float) -> float:
    """Mean height, over costs from `low` to `high`, of the line through the points; NaN where the range is empty.

    Below the cheapest point the line comes from the null router (no cost, no quality); beyond the dearest it is flat.
    """
    if not high > low:
        return float("nan")
    order = np.argsort(cost_P, kind="stable")
    cost_P = np.concatenate([[0.0], cost_P[order]])
    quality_P = np.concatenate([[0.0], quality_P[order]])
    inside = cost_P[(cost_P > low) & (cost_P < high)]
    grid = np.concatenate([[low], inside, [high]])
    return float(np.trapezoid(np.interp(grid, cost_P, quality_P), grid) / (high - low))


def aiq(
    cost_P: Floats, quality_P: Floats, low: float, high: float, *, vertices: NDArray[np.intp] | None = None
) -> float:
    """Average improvement in quality: the area under the hull over the cost range (RouterBench, arXiv 2403.12031).

    `vertices` are hull vertices found on the training side; without them the hull picks points on the very data that
    is measured, which flatters the router.

    >>> round(aiq(np.array([1.0, 3.0]), np.array([0.4, 0.8]), 1.0, 5.0), 3)
    0.7
    """
    vertices = hull(cost_P, quality_P) if vertices is None else vertices
    return area(cost_P[vertices], quality_P[vertices], low, high)


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy against the share of strong calls at T thresholds, by rising share (RouteLLM, arXiv 2406.18665)."""

    share_T: Floats
    accuracy_T: Floats
    weak: float
    strong: float

    @property
    def apgr(self) -> float:
        """Average performance gap recovered: the area between curve and weak model, as a part of the whole gap."""
        width = self.share_T[-1] - self.share_T[0]
        gap = (self.strong - self.weak) * width
        above = np.trapezoid(self.accuracy_T - self.weak, self.share_T)
        return float(above / gap) if gap else float("nan")

    def cpt(self, part: float) -> float:
        """Call-performance threshold: the least share of strong calls that recovers `part` of the gap.

        Interpolated at weak + part · (strong − weak); NaN where the curve never reaches it.
        """
        target = self.weak + part * (self.strong - self.weak)
        reached = np.flatnonzero(self.accuracy_T >= target)
        if not len(reached):
            return float("nan")
        first = int(reached[0])
        if first == 0:
            return float(self.share_T[0])
        ends = slice(first - 1, first + 1)
        return float(np.interp(target, self.accuracy_T[ends], self.share_T[ends]))


def strong_calls(score_N: Floats, cuts: int = 10) -> NDArray[np.bool_]:
    """Who is sent to the strong model at each threshold, shape (N, cuts + 1), from nobody to everybody.

    RouteLLM's protocol: thresholds are the quantiles that cut the scores into ten; a score at a threshold goes to the
    strong model, except at the largest, which sends nobody.
    """
    thresholds = np.quantile(score_N, np.linspace(0, 1, cuts + 1))
    strong_NT = score_N[:, None] >= thresholds[::-1]
    strong_NT[:, 0] = False
    return strong_NT


def routing_curve(score_N: Floats, weak_N: Floats, strong_N: Floats, *, cuts: int = 10) -> Curve:
    """The curve of a two-model router that ranks queries by `score_N`, the wish for the strong model.

    >>> perfect = routing_curve(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([1.0, 1.0]))
    >>> round(perfect.apgr, 3), round(perfect.cpt(0.5), 3)
    (0.75, 0.25)
    """
    strong_NT = strong_calls(score_N, cuts)
    accuracy_T = np.where(strong_NT, strong_N[:, None], weak_N[:, None]).mean(axis=0)
    return Curve(strong_NT.mean(axis=0), accuracy_T, float(weak_N.mean()), float(strong_N.mean()))


def resampled_curves(
    score_N: Floats, weak_N: Floats, strong_N: Floats, weights_BN: Floats, *, cuts: int = 10
) -> list[Curve]:
    """The curve under each of B bootstrap weightings of the queries; thresholds stay where the data put them."""
    strong_NT = strong_calls(score_N, cuts)
    values_NT = np.where(strong_NT, strong_N[:, None], weak_N[:, None])
    total_B1 = weights_BN.sum(axis=1, keepdims=True)
    share_BT, accuracy_BT = (weights_BN @ strong_NT) / total_B1, (weights_BN @ values_NT) / total_B1
    ends_B2 = (weights_BN @ np.stack([weak_N, strong_N], axis=1)) / total_B1
    return [
        Curve(share_T, accuracy_T, float(weak), float(strong))
        for share_T, accuracy_T, (weak, strong) in zip(share_BT, accuracy_BT, ends_B2, strict=True)
    ]


def reliability(predicted_N: Floats, score_N: Floats, bins: int = 10) -> list[tuple[float, float, int]]:
    """(mean prediction, mean score, count) per equal-width bin of [0, 1]; empty bins are left out.

    >>> reliability(np.array([0.25, 1.0, 0.875]), np.array([0.0, 1.0, 0.0]), bins=4)
    [(0.25, 0.0, 1), (0.9375, 0.5, 2)]
    """
    seen_N = np.isfinite(predicted_N) & np.isfinite(score_N)
    predicted_N, score_N = predicted_N[seen_N], score_N[seen_N]
    bin_N = np.clip((predicted_N * bins).astype(int), 0, bins - 1)
    rows = []
    for b in np.unique(bin_N):
        inside = bin_N == b
        means = (float(predicted_N[inside].mean()), float(score_N[inside].mean()))
        rows.append((*means, int(inside.sum())))
    return rows


def calibration_error(bins: Sequence[tuple[float, float, int]]) -> float:
    """Expected calibration error of reliability bins (Naeini et al., 2015): count-weighted |prediction − score|."""
    total = sum(count for _, _, count in bins)
    return sum(count * abs(predicted - score) for predicted, score, count in bins) / total if total else float("nan")
