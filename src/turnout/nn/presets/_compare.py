"""How a preset is compared: every variant on every seed, paired differences, one rule for the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from turnout.errors import ConfigError
from turnout.stats import Interval
from turnout.systems.base import Figures, Run, System

Variant = Callable[[int], Mapping[str, float]]
"""Measures one variant on one seed: figures by column, the same columns for every variant."""

Verdict = Literal["reproduced", "tie", "not at this size"]


def compare(
    system: System,
    run: Run,
    variants: Mapping[str, Variant],
    *,
    metric: str,
    against: str,
    table: str,
    protocol: str,
    better: Literal["lower", "higher"] = "lower",
    within: Mapping[str, float] | None = None,
    mechanism: bool = False,
) -> Figures:
    """Figures of the first variant, which is the system, beside the others on the same seeds.

    The gain is the system's `metric` less that of `against`, paired over seeds, as a t-interval. The verdict is
    `reproduced` where that interval excludes 0 in the direction of the claim, `tie` where it holds 0, and `not at this
    size` where it excludes 0 the other way. `within` names columns, lower being better, that may
    on average exceed those of `against` by so much: a claim of something for nothing is not reproduced where the price
    is higher. Raises ConfigError without seeds or without that baseline.

    >>> def flat(value):
    ...     return lambda seed: {"loss": value + 0.1 * seed}
    >>> from turnout.systems.base import systems
    >>> figures = compare(
    ...     systems()[0], Run(None, "", (0, 1, 2)), {"new": flat(1.0), "old": flat(2.0)},
    ...     metric="loss", against="old", table="a table", protocol="two constants",
    ... )
    >>> round(figures.gain.mean, 6), figures.verdict
    (-1.0, 'reproduced')
    """
    if not run.seeds or against not in variants:
        raise ConfigError(f"{system.name}: needs at least one seed and a variant {against!r}, got {tuple(variants)}")
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in variants}
    for done, seed in enumerate(run.seeds):
        for number, (name, variant) in enumerate(variants.items()):
            found[name].append(variant(seed))
            if run.tick is not None:
                run.tick(done * len(variants) + number + 1, len(run.seeds) * len(variants))
    mine = found[next(iter(variants))]
    ours, theirs = ([one[metric] for one in rows] for rows in (mine, found[against]))
    gain = t_interval([a - b for a, b in zip(ours, theirs, strict=True)])
    verdict = judge(gain, better)
    for column, slack in (within or {}).items():
        price = sum(a[column] - b[column] for a, b in zip(mine, found[against], strict=True)) / len(mine)
        verdict = "not at this size" if price > slack else verdict
    return Figures(
        table=table,
        protocol=f"{protocol}; {len(run.seeds)} seeds, t-intervals of paired differences",
        metric=metric,
        value=t_interval(ours),
        gain=gain,
        against=against,
        rows=[{"name": name, **_means(rows)} for name, rows in found.items()],
        mechanism=mechanism,
        verdict=verdict,
    )


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of a few values with Student's interval; infinitely wide for a single value, which says nothing.

    >>> [round(end, 2) for end in t_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    count = len(values)
    mean = sum(values) / count
    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    from scipy.stats import t

    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(t.ppf(0.5 + level / 2, count - 1)) * spread / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def judge(gain: Interval, better: Literal["lower", "higher"]) -> Verdict:
    """The verdict on a paired difference.

    >>> judge(Interval(-0.2, -0.3, -0.1), "lower"), judge(Interval(0.0, -0.1, 0.1), "higher")
    ('reproduced', 'tie')
    """
    if gain.low <= 0 <= gain.high:
        return "tie"
    return "reproduced" if (gain.mean < 0) == (better == "lower") else "not at this size"


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {column: sum(row[column] for row in rows) / len(rows) for column in rows[0]}
