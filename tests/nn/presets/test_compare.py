from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest

from turnout import registry
from turnout.nn.presets._compare import compare, judge, t_interval
from turnout.stats import Interval
from turnout.systems.base import Figures, Run

SYSTEM = registry.get("system", "avengers")


def noisy(level: float, price: float = 0.0) -> Callable[[int], Mapping[str, float]]:
    """A variant whose seeds differ much more than variants do."""
    return lambda seed: {"loss": level + 10 * seed + 0.001 * math.sin(seed + level), "price": price}


def figures(**options: object) -> Figures:
    given = {"metric": "loss", "against": "old", "table": "t", "protocol": "p", **options}
    variants = {"new": noisy(1.0, price=0.5), "old": noisy(1.2)}
    return compare(SYSTEM, Run(None, "", (0, 1, 2)), variants, **given)  # type: ignore[arg-type]


def test_differences_are_paired_over_seeds() -> None:
    found = figures()
    assert found.verdict == "reproduced"
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(-0.2, abs=0.01)
    assert found.gain.high - found.gain.low < 0.02
    assert found.value.high - found.value.low > 10


def test_the_wrong_direction_is_not_a_tie() -> None:
    assert figures(better="higher").verdict == "not at this size"


def test_a_price_above_what_was_allowed_takes_the_verdict() -> None:
    assert figures(within={"price": 0.4}).verdict == "not at this size"
    assert figures(within={"price": 0.6}).verdict == "reproduced"


def test_rows_hold_every_variant_with_its_means() -> None:
    assert [row["name"] for row in figures().rows] == ["new", "old"]
    assert figures().rows[0]["price"] == 0.5


def test_one_seed_proves_nothing() -> None:
    found = compare(
        SYSTEM,
        Run(None, "", (0,)),
        {"new": noisy(0.0), "old": noisy(9.0)},
        metric="loss",
        against="old",
        table="t",
        protocol="p",
    )
    assert found.verdict == "tie"


def test_progress_counts_every_run() -> None:
    seen: list[tuple[int, int]] = []
    run = Run(None, "", (0, 1), lambda done, total: seen.append((done, total)))
    compare(
        SYSTEM,
        run,
        {"new": noisy(0.0), "old": noisy(9.0)},
        metric="loss",
        against="old",
        table="t",
        protocol="p",
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_students_interval() -> None:
    found = t_interval([1.0, 2.0, 3.0])
    assert found == pytest.approx((2.0, 2.0 - 2.4841377, 2.0 + 2.4841377))
    assert t_interval([5.0]) == Interval(5.0, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("gain", "better", "verdict"),
    [
        (Interval(-1, -2, -0.5), "lower", "reproduced"),
        (Interval(-1, -2, -0.5), "higher", "not at this size"),
        (Interval(1, 0.5, 2), "higher", "reproduced"),
        (Interval(0.1, -0.5, 2), "higher", "tie"),
    ],
)
def test_verdicts(gain: Interval, better: str, verdict: str) -> None:
    assert judge(gain, better) == verdict  # type: ignore[arg-type]
