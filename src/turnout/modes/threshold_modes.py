"""Cut points on a few statistics that choose how to go on: one rule for a family of published systems."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from turnout.base import Component, Number, OneOf, Rule
from turnout.errors import ParameterError
from turnout.features import Floats

__all__ = ["ThresholdModes"]

GRID = 24  # candidate cuts per statistic: midpoints between its values, at evenly spaced quantiles where there are more
ROUNDS = 4
PRIOR = 10.0


class ThresholdModes(Component):
    """Each statistic (larger is surer) is compared with its cuts; `combine` turns the levels into one of `modes`.

    The level of a statistic is the number of its cuts that it does not reach: 0 is surest, NaN the least sure.
    `combine`: `worst` takes the largest level, `sum` their sum, `first` the first statistic's doubt as the last mode
    and else the second's level (PRISM), `grid` one mode for every combination of levels, the last statistic varying
    fastest (PCC). `learned` puts `levels` cuts at even quantiles and gives every combination the mode that was worth
    most in it, means drawn towards the whole log's by PRIOR queries: that doubt may mean that no mode will help, the
    fixed orders cannot express.

    `cuts` given are kept; None learns `levels` cuts per statistic from a log on which every mode was replayed, for the
    best mean of score − lam · cost within a mean cost of `budget`.

    Limits: cuts are searched one at a time on a grid, from even quantiles, so the best set may be missed; a log of a
    few hundred queries fits two cuts, hardly more.

    >>> sure_N1 = np.array([[0.9], [0.2], [0.8], [0.1]])
    >>> score_NM, cost_NM = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 5.0]] * 4)
    >>> modes = ThresholdModes(("certainty",), ("answer", "ask"), lam=0.1).fit(sure_N1, score_NM, cost_NM)
    >>> modes.choose(sure_N1).tolist(), modes.cuts_
    ([0, 1, 0, 1], ((0.5,),))
    """

    kind: ClassVar[str] = "mode"
    rules: ClassVar[Mapping[str, Rule]] = {
        "combine": OneOf(("worst", "sum", "first", "grid", "learned")),
        "lam": Number(0.0),
        "budget": Number(0.0, optional=True),
    }

    def __init__(
        self,
        statistics: tuple[str, ...] = ("confidence",),
        modes: tuple[str, ...] = ("stop", "go on"),
        *,
        combine: str = "worst",
        cuts: tuple[tuple[float, ...], ...] | None = None,
        levels: tuple[int, ...] | None = None,
        lam: float = 0.0,
        budget: float | None = None,
    ) -> None:
        self.statistics, self.modes, self.combine = statistics, modes, combine
        self.cuts, self.levels, self.lam, self.budget = cuts, levels, lam, budget

    def check(self) -> None:
        """Raise ParameterError where statistics, cuts and modes do not fit together."""
        super().check()
        if self.cuts is not None and len(self.cuts) != len(self.statistics):
            raise ParameterError(
                f"ThresholdModes: {len(self.statistics)} statistics need as many cuts, got {self.cuts!r}"
            )
        for cuts in self.cuts or ():
            if list(cuts) != sorted(cuts) or not np.isfinite(cuts).all():
                raise ParameterError(f"ThresholdModes: cuts must be finite and ascend, got {cuts!r}")
        sizes = self._sizes()
        if len(sizes) != len(self.statistics) or not all(size >= 1 for size in sizes):
            raise ParameterError(f"ThresholdModes: `levels` must be a number from 1 per statistic, got {self.levels!r}")
        wanted = len(self.modes) if self.combine == "learned" else self._reach(sizes)
        if wanted != len(self.modes):
            raise ParameterError(
                f"ThresholdModes: {self.combine!r} over {sizes} cuts reaches {wanted} modes, got {len(self.modes)}"
            )

    def _sizes(self) -> tuple[int, ...]:
        if self.cuts is not None:
            return tuple(len(cuts) for cuts in self.cuts)
        if self.levels is not None:
            return tuple(self.levels)
        single = len(self.modes) - 1 if self.combine == "worst" else 1
        return (single,) * len(self.statistics)

    def _reach(self, sizes: tuple[int, ...]) -> int:
        """How many modes the levels can lead to."""
        if self.combine == "grid":
            return int(np.prod([size + 1 for size in sizes]))
        if self.combine == "first":
            return sizes[1] + 2 if len(sizes) == 2 else 0
        return 1 + (max(sizes) if self.combine == "worst" else sum(sizes))

    def fit(self, statistic_NS: Floats, score_NM: Floats, cost_NM: Floats) -> Self:
        """Learn cuts from what every mode would have scored and cost on N queries, both (N, M).

        Raises ParameterError where even the cheapest cuts exceed the budget.
        """
        self.check()
        if self.combine == "learned":
            return self._learn(statistic_NS, score_NM, cost_NM)
        if self.cuts is not None:
            self.cuts_ = tuple(tuple(map(float, cuts)) for cuts in self.cuts)
            return self
        grids = [_grid(statistic_NS[:, s]) for s in range(len(self.statistics))]
        slots = [s for s, size in enumerate(self._sizes()) for _ in range(size)]
        found = self._starts(grids)
        best = max(found, key=lambda cuts: self._worth(cuts, statistic_NS, score_NM, cost_NM))
        for _ in range(ROUNDS):
            before = best
            for slot, s in enumerate(slots):
                options = [_replaced(best, slots, slot, value) for value in grids[s]]
                best = max([best, *options], key=lambda cuts: self._worth(cuts, statistic_NS, score_NM, cost_NM))
            if best == before:
                break
        if self._worth(best, statistic_NS, score_NM, cost_NM) == float("-inf"):
            raise ParameterError(f"ThresholdModes: no cuts keep the mean cost within the budget of {self.budget!r}")
        self.cuts_ = best
        return self

    def _learn(self, statistic_NS: Floats, score_NM: Floats, cost_NM: Floats) -> Self:
        """The best mode of every cell; a multiplier on cost is found that keeps the whole within the budget."""
        self.cuts_ = self.cuts or tuple(_quantiles(statistic_NS[:, s], size) for s, size in enumerate(self._sizes()))
        cell_N = self._cells(statistic_NS, self.cuts_)
        cells = int(np.prod([len(cuts) + 1 for cuts in self.cuts_]))
        count_C1 = np.bincount(cell_N, minlength=cells)[:, None]
        score_CM, cost_CM = (_drawn(values_NM, cell_N, count_C1) for values_NM in (score_NM, cost_NM))

        def assigned(lam: float) -> NDArray[np.intp]:
            return np.asarray((score_CM - lam * cost_CM).argmax(axis=1), dtype=np.intp)

        def within(lam: float) -> bool:
            cost = cost_NM[np.arange(len(cell_N)), assigned(lam)[cell_N]].mean()
            return self.budget is None or bool(cost <= self.budget * (1 + 1e-9))

        low, high = self.lam, max(self.lam, 1e6 / max(float(cost_NM.mean()), 1e-12))
        if not within(high):
            raise ParameterError(
                f"ThresholdModes: no assignment keeps the mean cost within the budget of {self.budget!r}"
            )
        if within(low):
            high = low
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if within(middle) else (middle, high)
        self.mode_C_ = assigned(high)
        return self

    def _starts(self, grids: list[Floats]) -> list[tuple[tuple[float, ...], ...]]:
        """Even quantiles; the ends, which suit any budget; every pair where there are two single cuts or fewer."""
        sizes = self._sizes()
        found = [
            tuple(
                tuple(grid[np.linspace(0, len(grid) - 1, size + 2).astype(int)[1:-1]].tolist())
                for grid, size in zip(grids, sizes, strict=True)
            ),
            tuple((float(grid[0]),) * size for grid, size in zip(grids, sizes, strict=True)),
            tuple((float(grid[-1]),) * size for grid, size in zip(grids, sizes, strict=True)),
        ]
        if sum(sizes) <= 2 and max(sizes) == 1:
            found += [tuple((float(v),) for v in values) for values in product(*grids)]
        return found

    def _worth(
        self, cuts: tuple[tuple[float, ...], ...], statistic_NS: Floats, score_NM: Floats, cost_NM: Floats
    ) -> float:
        mode_N, rows = self._modes(statistic_NS, cuts), np.arange(len(statistic_NS))
        cost = float(cost_NM[rows, mode_N].mean())
        if self.budget is not None and cost > self.budget * (1 + 1e-9):
            return float("-inf")
        return float(score_NM[rows, mode_N].mean()) - self.lam * cost

    def choose(self, statistic_NS: Floats) -> NDArray[np.intp]:
        """The mode of each query, shape (N,)."""
        self.require_fitted()
        return self._modes(np.asarray(statistic_NS, dtype=np.float64), self.cuts_)

    def _modes(self, statistic_NS: Floats, cuts: tuple[tuple[float, ...], ...]) -> NDArray[np.intp]:
        if self.combine == "learned":
            return np.asarray(self.mode_C_[self._cells(statistic_NS, cuts)])
        if self.combine == "grid":
            return self._cells(statistic_NS, cuts)
        level_NS = _levels(statistic_NS, cuts)
        if self.combine == "worst":
            return np.asarray(level_NS.max(axis=1), dtype=np.intp)
        if self.combine == "sum":
            return np.asarray(level_NS.sum(axis=1), dtype=np.intp)
        return np.where(level_NS[:, 0] > 0, len(self.modes) - 1, level_NS[:, 1]).astype(np.intp)

    def _cells(self, statistic_NS: Floats, cuts: tuple[tuple[float, ...], ...]) -> NDArray[np.intp]:
        """The number of each query's combination of levels, shape (N,)."""
        sizes = tuple(len(of_one) + 1 for of_one in cuts)
        return np.asarray(np.ravel_multi_index(tuple(_levels(statistic_NS, cuts).T), sizes), dtype=np.intp)


def _levels(statistic_NS: Floats, cuts: tuple[tuple[float, ...], ...]) -> NDArray[np.intp]:
    """How many cuts each statistic fails to reach, (N, S)."""
    columns = [(~(statistic_NS[:, s, None] >= np.asarray(cuts[s]))).sum(axis=1) for s in range(len(cuts))]
    return np.stack(columns, axis=1).astype(np.intp)


def _quantiles(values_N: Floats, count: int) -> tuple[float, ...]:
    seen_N = values_N[np.isfinite(values_N)]
    return tuple(np.quantile(seen_N, np.linspace(0, 1, count + 2)[1:-1]).tolist()) if len(seen_N) else (0.0,) * count


def _drawn(values_NM: Floats, cell_N: NDArray[np.intp], count_C1: NDArray[np.intp]) -> Floats:
    """Means per cell and mode, drawn towards the mode's mean, (C, M)."""
    sums_CM = np.zeros((len(count_C1), values_NM.shape[1]))
    np.add.at(sums_CM, cell_N, values_NM)
    return np.asarray((sums_CM + PRIOR * values_NM.mean(axis=0)) / (count_C1 + PRIOR))


def _grid(values_N: Floats) -> Floats:
    """Candidate cuts: below all, between neighbours, above all."""
    seen = np.unique(values_N[np.isfinite(values_N)])
    if not len(seen):
        return np.array([0.0])
    middle = (seen[:-1] + seen[1:]) / 2
    if len(middle) > GRID:
        inner = np.quantile(values_N[np.isfinite(values_N)], np.linspace(0, 1, GRID + 2)[1:-1])
        middle = np.unique(middle[np.clip(np.searchsorted(middle, inner), 0, len(middle) - 1)])
    return np.concatenate([[seen[0] - 1.0], middle, [seen[-1] + 1.0]])


def _replaced(
    cuts: tuple[tuple[float, ...], ...], slots: list[int], slot: int, value: float
) -> tuple[tuple[float, ...], ...]:
    """The cuts with one of them moved; those of one statistic stay in order."""
    flat = [cut for of_one in cuts for cut in of_one]
    flat[slot] = float(value)
    return tuple(
        tuple(sorted(cut for cut, s in zip(flat, slots, strict=True) if s == statistic))
        for statistic in range(len(cuts))
    )
