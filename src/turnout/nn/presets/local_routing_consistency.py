"""Local routing consistency: how far a fixed group of experts serves a stretch of text, and why.

Source: Liang et al., "Not All Models Suit Expert Offloading: On Local Routing Consistency of Mixture-of-Expert Models",
arXiv 2505.16056; code ljcleo/moe-lrc. The statistics are `turnout.nn.statistics.srp`, `sch` and `cache_hit_rate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import Variant, compare
from turnout.nn.presets._traces import mean, traces
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.statistics import Trace

__all__ = ["LOCAL_ROUTING_CONSISTENCY"]

RATIO = 2.0  # the paper's best size of a cache, in active experts

# how each row draws choices again: what it keeps
CONTROLS: Mapping[str, str | None] = {
    "i.i.d., same marginals": None,
    "i.i.d. within the domain": "task_T",
    "i.i.d. within the character": "token_T",
}


def _build() -> Mapping[str, Any]:
    from turnout.nn import RoutingStats
    from turnout.nn.statistics import cache_hit_rate, sch, srp

    return {"statistics": RoutingStats(), "srp": srp, "sch": sch, "cache_hit_rate": cache_hit_rate}


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn.beds.chars import STEPS

    variants: dict[str, Variant] = {"measured routing": _variant(run.data, _as_it_was)}
    for name, field in CONTROLS.items():
        variants[name] = _variant(run.data, _drawn(field))
    return compare(
        system,
        run,
        variants,
        metric="SRP(16)",
        better="higher",
        against="i.i.d., same marginals",
        table="characters of two domains",
        protocol=f"top-2 of 16 experts and the Switch loss in each of two layers, {STEPS} steps, text and source; "
        "choices on validation windows, and the same choices drawn again; means over layers",
    )


def _variant(data: Path | None, change: Callable[[Trace, int], Trace]) -> Variant:
    def measured(seed: int) -> Mapping[str, float]:
        from turnout.nn.statistics import cache_hit_rate, sch, srp

        layers = [change(trace, seed) for trace in _trained(data, seed)]
        return {
            "SRP(16)": mean(srp, layers),
            "SRP(64)": mean(lambda trace: srp(trace, 64), layers),
            "SCH(16), twice k": mean(lambda trace: sch(trace, 16, RATIO), layers),
            "LRU hits, twice k": mean(lambda trace: cache_hit_rate(trace, RATIO), layers),
            "best possible hits": mean(lambda trace: cache_hit_rate(trace, RATIO, "belady"), layers),
        }

    return measured


def _as_it_was(trace: Trace, _: int) -> Trace:
    return trace


def _drawn(field: str | None) -> Callable[[Trace, int], Trace]:
    def change(trace: Trace, seed: int) -> Trace:
        from turnout.nn.statistics import resampled

        return resampled(trace, seed, within=None if field is None else trace.need(field))

    return change


@cache
def _trained(data: Path | None, seed: int) -> tuple[Trace, ...]:
    from turnout.nn.beds import chars

    return tuple(traces(chars.baseline(chars.two_domains(data), "top-2 + switch", seed)))


LOCAL_ROUTING_CONSISTENCY = System(
    name="local_routing_consistency",
    number=34,
    title="Local routing consistency",
    level="in-model",
    claim=Claim(
        "Consecutive tokens activate similar experts to a degree that differs between models; domain-specialized "
        "experts contribute more to it than vocabulary-specialized ones; most models balance cache effectiveness and "
        "efficiency at cache sizes of about twice the active experts.",
        "arXiv 2505.16056, abstract",
    ),
    parts=("gate:linear_gate", "selector:top_k", "balancer:switch_loss", "experts:ffn"),
    novelty="statistics",
    build=_build,
    deviations=(
        "One small character model instead of 20 language models; the two domains are plays and Python source.",
        "SCH serves each segment of 16 tokens with its own best experts, as in the paper's first version; caches start "
        "empty with each window of 64 characters.",
    ),
    limits=(
        "A control drawn within a character keeps the share of consistency that repeated characters explain, one drawn "
        "within a domain the share of the domain: what stands above both is neither.",
        "The verdict is on consistency above i.i.d. routing with the same marginals. That domains contribute more than "
        "vocabulary is a tie here: drawn within the domain SRP(16) is .357, within the character .356.",
    ),
    code="github.com/ljcleo/moe-lrc",
    table="characters",
    measure=_measure,
)
