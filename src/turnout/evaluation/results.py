"""What an evaluation found, as plain values: rows of figures with intervals, curves for the plots, remarks.

Shape letters: N queries, E experts, P operating points, Q quantities, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats
from turnout.stats import Interval, bootstrap_counts

DRAWS = 2000
REFERENCE = "best single"  # gains are measured against it
CEILING = "oracle"  # gaps are measured to it


@dataclass(frozen=True)
class Measured:
    """One rule's outcome per query, averaged over seeds: worth in score, spend in US dollars, and who served.

    `aiq` is the mean over folds and seeds; `ece` the calibration error of the chosen experts' estimates.
    `seed_value_SN` holds the worth in each repetition, `aiq_gain_F` per split the AIQ above the zero router's.
    """

    name: str
    note: str
    value_N: Floats
    spend_N: Floats | None
    share_E: Floats
    aiq: float | None = None
    ece: float | None = None
    seed_value_SN: Mapping[int, Floats] = field(default_factory=dict)
    aiq_gain_F: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Row:
    """One line of the table; intervals are 95 %, bootstrapped over groups of near-duplicates.

    `cost` is in US dollars per 1,000 requests; `gain` is over the best single expert, `gap` to the oracle.
    """

    name: str
    note: str
    accuracy: Interval
    gain: Interval | None
    gap: Interval | None
    cost: Interval | None
    share: Mapping[str, float]
    aiq: float | None = None
    ece: float | None = None


@dataclass(frozen=True)
class PairRow:
    """RouteLLM's figures of one rule on a pair of experts: APGR and the calls that recover 50 % and 80 % of the gap."""

    name: str
    apgr: Interval
    cpt50: float
    cpt80: float
    gain: Interval | None = None  # of APGR over prompt length, paired


@dataclass(frozen=True)
class Pair:
    """The two-model reading of a log: who is weak, who is strong, and how rules rank queries between them."""

    weak: str
    strong: str
    rows: tuple[PairRow, ...]


@dataclass(frozen=True)
class Point:
    """An operating point on the cost–quality plane; cost in US dollars per 1,000 requests."""

    name: str
    cost: float
    quality: float


@dataclass(frozen=True)
class Evaluation:
    """A whole evaluation. `remarks` must be shown; `warnings` must be shown loudly."""

    title: str
    subject: str
    facts: Mapping[str, Any]
    protocol: str
    rows: tuple[Row, ...]
    curve: tuple[Point, ...] = ()
    singles: tuple[Point, ...] = ()
    calibration: tuple[tuple[float, float, int], ...] = ()
    pair: Pair | None = None
    aiq_singles: float | None = None
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    nominal: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def row(self, name: str) -> Row:
        """The line of a rule. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an interval becomes {mean, low, high}."""
        return {"format": 1, **_plain(asdict(self))}


@dataclass(frozen=True)
class Sheet:
    """A measurement that is no choice of one expert per query of a log: a headline, and rows with columns of its own.

    `gain` is the paired difference of `value` to the row or rule `against`. Every row has a `name`; where it has
    `metric`, that is drawn.
    """

    title: str
    subject: str
    metric: str
    value: Interval
    gain: Interval | None
    against: str
    protocol: str
    rows: Sequence[Mapping[str, str | float | None]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an interval becomes {mean, low, high}."""
        return {"format": 1, **_plain(asdict(self))}


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return value._asdict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def tabulate(
    measured: Sequence[Measured], group_N: NDArray[np.integer[Any]], experts: Sequence[str], *, seed: int = 0
) -> tuple[Row, ...]:
    """Rows with intervals; every rule is compared on the same queries, so gains and gaps are paired."""
    by_name = {entry.name: entry for entry in measured}
    reference, ceiling = by_name.get(REFERENCE), by_name.get(CEILING)
    columns: dict[tuple[str, str], Floats] = {}
    for entry in measured:
        columns["accuracy", entry.name] = entry.value_N
        if entry.spend_N is not None:
            columns["cost", entry.name] = entry.spend_N * 1e3
        if reference is not None and entry is not reference:
            columns["gain", entry.name] = entry.value_N - reference.value_N
        if ceiling is not None and entry is not ceiling:
            columns["gap", entry.name] = ceiling.value_N - entry.value_N
    found = dict(zip(columns, intervals(np.stack(list(columns.values()), axis=1), group_N, seed=seed), strict=True))
    return tuple(
        Row(
            name=entry.name,
            note=entry.note,
            accuracy=found["accuracy", entry.name],
            gain=found.get(("gain", entry.name)),
            gap=found.get(("gap", entry.name)),
            cost=found.get(("cost", entry.name)),
            share={name: float(part) for name, part in zip(experts, entry.share_E, strict=True)},
            aiq=entry.aiq,
            ece=entry.ece,
        )
        for entry in measured
    )


def intervals(values_NQ: Floats, group_N: NDArray[np.integer[Any]], *, seed: int, draws: int = DRAWS) -> list[Interval]:
    """What `bootstrap_mean` gives for each of Q columns, from one set of draws; rows with a NaN are left out.

    >>> from turnout.stats import bootstrap_mean
    >>> values_N = np.arange(50.0) % 3
    >>> intervals(values_N[:, None], np.arange(50), seed=0) == [bootstrap_mean(values_N, seed=0)]
    True
    """
    seen_N = np.isfinite(values_NQ).all(axis=1)
    values_NQ, group_N = values_NQ[seen_N], group_N[seen_N]
    means_BQ = np.stack([c_N @ values_NQ / c_N.sum() for c_N in bootstrap_counts(group_N, seed=seed, draws=draws)])
    low_Q, high_Q = np.quantile(means_BQ, [0.025, 0.975], axis=0)
    mean_Q = values_NQ.mean(axis=0)
    return [Interval(float(m), float(lo), float(hi)) for m, lo, hi in zip(mean_Q, low_Q, high_Q, strict=True)]
