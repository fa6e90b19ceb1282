"""What a routed layer must show before any system is worth measuring; `turnout nn bench` runs these first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, on_chars, reference, trained
from turnout.nn.presets._compare import Verdict, t_interval
from turnout.stats import Interval
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained

__all__ = ["BASICS"]

HIGHEST, OFF, LONGER = 0.5, 0.25, 3


def _layer() -> Mapping[str, Any]:
    from turnout.nn.beds.chars import BASELINES
    from turnout.nn.beds.model import Size

    return {"layer": BASELINES["top-2 + switch"](Size())[0]}


def _learned(system: System, run: Run, against: str) -> Figures:
    bed = bed_of(run)
    variants = {name: reference(bed, name, times=LONGER) for name in ("top-2 + switch", against)}
    return on_chars(system, run, bed, variants, against=against, times=LONGER)


def _balanced(system: System, run: Run) -> Figures:
    """Each of both balancers must be good by itself."""
    bed = bed_of(run)
    variants = {name: reference(bed, name, times=LONGER) for name in ("top-2 + loss-free", "top-2 + switch")}
    found = on_chars(
        system,
        run,
        bed,
        variants,
        metric="max violation",
        against="top-2 + switch",
        times=LONGER,
        says=f"reproduced where both balancers end at most at {HIGHEST} on average with no dead expert",
    )
    good = all(_at_most(row, "max violation", HIGHEST) and _at_most(row, "dead experts", 0.0) for row in found.rows)
    return replace(found, verdict="reproduced" if good else "not at this size")


def _at_most(row: Mapping[str, Any], column: str, highest: float) -> bool:
    return float(row[column]) <= highest


def _variable(system: System, run: Run) -> Figures:
    """Selectors that aim at k on average: how far the one that is farthest off ends from it, beside what is allowed."""
    from turnout.nn import ExpertChoice, L1Controller, ReLU, SwitchLoss, Threshold
    from turnout.nn.beds.chars import CHOSEN, EXPERTS, routed

    bed = bed_of(run)
    ended: dict[str, list[float]] = {}

    def ends(name: str) -> Callable[[Trained], Mapping[str, float]]:
        def off(found: Trained) -> Mapping[str, float]:
            ended.setdefault(name, []).append(abs(found.active - CHOSEN))
            return {"off target": ended[name][-1]}

        return off

    makers: dict[str, tuple[Callable[[], Any], Callable[[], Sequence[Any]]]] = {
        "threshold": (lambda: Threshold(k=CHOSEN), lambda: [SwitchLoss(0.01)]),
        "ReLU + L1 controller": (lambda: ReLU(EXPERTS, norm=False), lambda: [L1Controller(CHOSEN)]),
        "ReLU with norm + L1 controller": (lambda: ReLU(EXPERTS), lambda: [L1Controller(CHOSEN)]),
        "expert choice": (lambda: ExpertChoice(CHOSEN), tuple),
    }
    found = on_chars(
        system,
        run,
        bed,
        {
            **{name: trained(bed, routed(*maker), ends(name)) for name, maker in makers.items()},
            "top-2 + switch": reference(bed, "top-2 + switch", ends("top-2 + switch")),
        },
        metric="off target",
        against="top-2 + switch",
        says=f"target {CHOSEN} experts a token; the headline is the selector that ends farthest off, beside the {OFF} "
        "that are allowed: reproduced where it is within them on average; expert choice sees the future here, so its "
        "loss means nothing",
    )
    worst = t_interval(max((ended[name] for name in makers), key=sum))
    gain = Interval(*(end - OFF for end in worst))
    verdict: Verdict = "reproduced" if worst.mean <= OFF else "not at this size"
    return replace(found, value=worst, gain=gain, against="what is allowed", verdict=verdict)


def _local(system: System, run: Run) -> Figures:
    """Segment routing consistency of text of two domains, beside choices drawn independently of place."""
    from turnout.nn.presets._compare import compare

    bed = bed_of(run, domains=2)

    def measured(seed: int, control: bool) -> Mapping[str, float]:
        from turnout.nn.beds import chars
        from turnout.nn.statistics import divergence, resampled, srp, task_information

        traces = chars.baseline(bed, "top-2 + switch", seed).traces
        traces = [resampled(trace, seed) for trace in traces] if control else traces
        count = len(traces)
        return {
            "SRP, 16 tokens": sum(srp(trace, 16) for trace in traces) / count,
            "information on the domain": sum(task_information(trace) for trace in traces) / count,
            "divergence of domains": sum(divergence(trace.only(0), trace.only(1)) for trace in traces) / count,
        }

    return compare(
        system,
        run,
        {"routed": lambda seed: measured(seed, False), "i.i.d. control": lambda seed: measured(seed, True)},
        metric="SRP, 16 tokens",
        against="i.i.d. control",
        better="higher",
        table=bed.name,
        protocol="windows of one domain each; the control draws each token's choice from all tokens' choices",
    )


def _basic(name: str, title: str, says: str, measure: Callable[[System, Run], Figures]) -> System:
    return System(
        name=name,
        title=title,
        level="in-model",
        claim=Claim(says, "this project's own minimum"),
        parts=("gate:linear_gate", "selector:top_k", "balancer:switch_loss", "experts:ffn"),
        novelty="training",
        build=_layer,
        measure=measure,
        table="characters",
        limits=("A few hundred steps of a small model.",),
    )


BASICS: tuple[System, ...] = (
    _basic(
        "basics_random",
        "Learned or random",
        "A learned top-2 gate beats two experts at random.",
        lambda system, run: _learned(system, run, "random 2"),
    ),
    _basic(
        "basics_dense",
        "Routed or dense",
        "A learned top-2 gate beats a dense block of equal active parameters.",
        lambda system, run: _learned(system, run, "dense"),
    ),
    _basic(
        "basics_balance",
        "Balance",
        "The auxiliary loss and the loss-free bias each end at a max violation of .5 or less, with no dead expert.",
        _balanced,
    ),
    _basic(
        "basics_variable_k", "Variable k", "Selectors of a variable number of experts reach their target.", _variable
    ),
    _basic(
        "basics_locality",
        "Locality",
        "On text of two domains routing is more local than its i.i.d. control.",
        _local,
    ),
)
"""Checked first by `turnout nn bench`; not registered, since they are nobody's system."""
