"""What an evaluation found, as plain values: rows of figures with intervals, curves for the plots, remarks.

Shape letters: N queries, E experts, P operating points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats
from turnout.stats import Interval, bootstrap_mean, paired_bootstrap

DRAWS = 2000
REFERENCE = "best single"  # gains are measured against it
CEILING = "oracle"  # gaps are measured to it


@dataclass(frozen=True)
class Measured:
    """One rule's outcome per query, averaged over seeds: worth in score, spend in US dollars, and who served.

    `aiq` is the mean over folds and seeds; `ece` the calibration error of the chosen experts' estimates.
    """

    name: str
    note: str
    value_N: Floats
    spend_N: Floats | None
    share_E: Floats
    aiq: float | None = None
    ece: float | None = None


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

    def mean(values_N: Floats) -> Interval:
        return bootstrap_mean(values_N, group_N, seed=seed, draws=DRAWS)

    return tuple(
        Row(
            name=entry.name,
            note=entry.note,
            accuracy=mean(entry.value_N),
            gain=_difference(entry, reference, group_N, seed),
            gap=_difference(ceiling, entry, group_N, seed) if ceiling else None,
            cost=None if entry.spend_N is None else mean(entry.spend_N * 1e3),
            share={name: float(part) for name, part in zip(experts, entry.share_E, strict=True)},
            aiq=entry.aiq,
            ece=entry.ece,
        )
        for entry in measured
    )


def _difference(
    better: Measured, worse: Measured | None, group_N: NDArray[np.integer[Any]], seed: int
) -> Interval | None:
    if worse is None or better is worse:
        return None
    return paired_bootstrap(better.value_N - worse.value_N, group_N, seed=seed, draws=DRAWS)
