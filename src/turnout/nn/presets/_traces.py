"""Traces of a trained character model, for presets that are statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained
    from turnout.nn.plan import Plan
    from turnout.nn.statistics import Trace


def traces(trained: Trained, plans: Sequence[Plan | None] | None = None) -> list[Trace]:
    """One trace per routed layer over the validation windows; other plans of the same windows where given."""
    from turnout.nn.statistics import Trace

    length = trained.ids_BS.shape[1]
    task_T = trained.domain_B.repeat_interleave(length)
    found = [plan for plan in (trained.plans if plans is None else plans) if plan is not None]
    return [Trace.of_plan(plan, length=length, token_T=trained.ids_BS.reshape(-1), task_T=task_T) for plan in found]


def mean(statistic: Callable[[Trace], float], layers: Sequence[Trace]) -> float:
    """A statistic's mean over layers."""
    return sum(map(statistic, layers)) / len(layers)
