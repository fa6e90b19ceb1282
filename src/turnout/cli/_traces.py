"""How traces look on a terminal and as JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from turnout.cli._output import show, table
from turnout.types import Decision, Trace

if TYPE_CHECKING:
    from rich.console import Console

REASONS = {
    "routed": "It has the largest objective among the experts that could take the request.",
    "explored": "It was drawn at random, to learn ([router] explore); the objective did not decide.",
    "kept": "It served this conversation before, and no other gains more than [router] switch_margin.",
    "abstained": "The router is not surely better here than its best single expert, so that one answers.",
    "forced": "The client named this expert.",
    "unfitted": "The router was never fitted on these experts, so the default answers.",
    "only": "No other expert could take the request.",
    "ruled": "A rule names this expert.",
    "refused": "A rule refused the request.",
}


def as_dict(trace: Trace, *, brief: bool = False) -> dict[str, Any]:
    """The JSON form."""
    decision = trace.decision
    made: dict[str, Any] = {
        "id": trace.id,
        "time": trace.time,
        "requested": trace.requested,
        "expert": trace.expert,
        "reason": decision.reason if decision else None,
        "status": trace.status,
        "quality": decision.estimate("quality") if decision else None,
        "cost": trace.cost,
        "cost_estimate": decision.estimate("cost") if decision else None,
        "prompt_tokens": trace.usage.prompt_tokens,
        "completion_tokens": trace.usage.completion_tokens,
        "latency_s": trace.latency_s,
        "score": trace.score,
        "label": trace.label,
    }
    if brief:
        return made
    return made | {
        "first_byte_s": trace.first_byte_s,
        "session": trace.session,
        "versions": dict(trace.versions),
        "prompt": trace.prompt,
        "response": trace.response,
        "calls": [
            {
                "expert": c.expert,
                "status": c.status,
                "first_byte_s": c.first_byte_s,
                "total_s": c.total_s,
                "error": c.error,
            }
            for c in trace.calls
        ],
        "decision": _decision_dict(decision) if decision else None,
    }


def _decision_dict(decision: Decision) -> dict[str, Any]:
    names = ("quality", "se", "cost", "objective")
    experts = [
        {
            "expert": name,
            "eligible": decision.eligible[i],
            "refusal": decision.refusals.get(name),
            **{key: values[i] for key in names if (values := getattr(decision, key))},
        }
        for i, name in enumerate(decision.experts)
    ]
    return {
        "expert": decision.expert,
        "fallbacks": list(decision.plan.fallbacks),
        "reason": decision.reason,
        "propensity": decision.propensity,
        "seed": decision.seed,
        "rule": decision.rule,
        "conditions": decision.conditions,
        "experts": experts,
        "signals": {name: list(map(float, values)) for name, values in decision.signals.items()},
    }


def listing(console: Console, traces: Sequence[Trace], total: int, path: Path) -> None:
    """One line per trace."""
    columns = ["trace", "when", "expert", "why", "status", "quality", "tokens", "US$", "seconds", "score"]
    console.print(table(columns, [_line(trace) for trace in traces], words=("when", "expert", "why")))
    console.print(f"[dim]{len(traces)} of {total:,} in {path}; `turnout traces show ID` explains one[/dim]")


def _line(trace: Trace) -> list[object]:
    usage, decision = trace.usage, trace.decision
    tokens = None if usage.completion_tokens is None else f"{show(usage.prompt_tokens)} + {usage.completion_tokens:,}"
    return [
        escape(trace.id),
        when(trace.time),
        escape(trace.expert or "—"),
        decision.reason if decision else "—",
        _status(trace),
        decision.estimate("quality") if decision else None,
        tokens,
        trace.cost,
        trace.latency_s,
        trace.score,
    ]


def when(moment: float) -> str:
    """Local time, the date only where it is not today's."""
    then, now = time.localtime(moment), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M", then)


def _status(trace: Trace) -> str:
    good = trace.status is not None and trace.status < 400
    return f"[green]{trace.status}[/green]" if good else f"[red]{show(trace.status)}[/red]"


def page(console: Console, trace: Trace) -> None:
    """Everything about one trace, the reason first."""
    console.print(
        f"[bold]{escape(trace.id)}[/bold]  {when(trace.time)}  asked for {escape(trace.requested or 'nothing')}"
    )
    told = [f"status {_status(trace)}"]
    if trace.latency_s is not None:
        told.append(f"{show(trace.latency_s)} s")
    if trace.first_byte_s is not None:
        told.append(f"first byte after {show(trace.first_byte_s)} s")
    if trace.usage.completion_tokens is not None:
        told.append(f"{show(trace.usage.prompt_tokens)} + {trace.usage.completion_tokens:,} tokens")
    if trace.cost is not None:
        told.append(f"US$ {show(trace.cost)}")
    console.print(f"answered by [bold]{escape(trace.expert or 'no one')}[/bold]: " + ", ".join(told))
    if trace.decision:
        _why(console, trace, trace.decision)
    if len(trace.calls) > 1 or any(call.error for call in trace.calls):
        rows = [(escape(c.expert), c.status, c.first_byte_s, c.total_s, escape(c.error or "")) for c in trace.calls]
        console.print(table(["call", "status", "first byte, s", "total, s", "error"], rows, words=("error",)))
    outcome = (
        "none yet"
        if trace.score is None
        else f"{show(trace.score)}" + (f" ({escape(trace.label)})" if trace.label else "")
    )
    console.print(f"outcome: {outcome}")
    versions = ", ".join(f"{name} {version}" for name, version in trace.versions.items())
    if versions:
        console.print(f"[dim]{escape(versions)}[/dim]")
    for name, text in (("prompt", trace.prompt), ("response", trace.response)):
        if text is not None:
            console.print(f"\n[bold]{name}[/bold]")
            console.print(text, markup=False)


def _why(console: Console, trace: Trace, decision: Decision) -> None:
    who = escape(decision.expert or "nobody")
    console.print(f"\n[bold]Why {who}?[/bold] {REASONS.get(decision.reason, decision.reason)}")
    rules(console, decision.rule, decision.conditions)
    if trace.expert not in (None, decision.expert):
        console.print(f"It failed before its first byte, so [bold]{escape(trace.expert or 'no one')}[/bold] answered.")
    order = sorted(range(len(decision.experts)), key=lambda i: _rank(decision, i))
    rows = [_estimates(decision, i) for i in order]
    console.print(table(["expert", "quality", "± s.e.", "cost, US$", "objective", ""], rows))
    signals = ", ".join(f"{name} ({len(values)})" for name, values in decision.signals.items()) or "none kept"
    chance = f"chance of this choice {show(float(decision.propensity))}"
    console.print(f"[dim]signals: {signals}; {chance}; seed {decision.seed}[/dim]")


def rules(console: Console, rule: str | None, conditions: Mapping[str, Mapping[str, Any]]) -> None:
    """The rule that applied, and the signals that had to be known to tell."""
    if rule is not None:
        console.print(f"rule: [bold]{escape(rule)}[/bold]")
    for name, reading in conditions.items():
        mark = "holds" if reading["holds"] else "does not hold"
        value = "" if reading["value"] is None else f" ({show(reading['value'])})"
        console.print(f"  signal {escape(name)} {mark}{escape(value)}")


def _rank(decision: Decision, i: int) -> tuple[bool, float]:
    return not decision.eligible[i], -(decision.objective[i] if decision.objective else 0.0)


def _estimates(decision: Decision, i: int) -> list[object]:
    name = decision.experts[i]
    chosen = name == decision.expert
    numbers = [v[i] if v else None for v in (decision.quality, decision.se, decision.cost, decision.objective)]
    note = "chosen" if chosen else ("" if decision.eligible[i] else escape(decision.refusals.get(name, "not eligible")))
    return [f"[bold]{escape(name)}[/bold]" if chosen else escape(name), *numbers, note]
