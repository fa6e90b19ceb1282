"""What a published system is here: metadata, the registered parts it composes, and the figures last measured.

Figures live beside the code as `measured/<name>.json`, written by `turnout systems run NAME --record`; the page
`docs/systems.md` is generated from the registry and these files. A system that chooses one expert per query of an
outcome log is measured by cross-validation; one that does something else brings its own `measure`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from turnout import registry
from turnout.stats import Interval

RequestSlot = Literal["signal", "estimator", "policy", "plan", "feedback", "fleet"]
ModelSlot = Literal["gate", "selector", "balancer", "experts", "dispatcher", "combiner", "statistics", "training"]


@dataclass(frozen=True)
class Claim:
    """What the authors report, in one sentence, and where."""

    text: str
    source: str


@dataclass(frozen=True)
class Run:
    """What a measurement is given: the folder of tables (None: TURNOUT_DATA), a table, seeds, a progress hook."""

    data: Path | None
    table: str
    seeds: Sequence[int]
    tick: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class Figures:
    """A measurement: one headline beside the baselines of the same run.

    `value` is the system's `metric`, `gain` its paired difference to the baseline `against`, None where nothing can be
    paired. Every row has a `name` and the same further columns. `mechanism` marks a test that the machinery does what
    it says where no real data can show the effect; such figures are never mixed with measured ones. `verdict` says
    whether a small-scale test of a published mechanism reproduced it. `seeds` are those of the run.
    """

    table: str
    protocol: str
    metric: str
    value: Interval
    gain: Interval | None
    against: str
    rows: Sequence[Mapping[str, str | float | None]]
    mechanism: bool = False
    verdict: Literal["", "reproduced", "tie", "not at this size"] = ""
    seeds: Sequence[int] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an interval becomes {mean, low, high}."""
        gain = None if self.gain is None else self.gain._asdict()
        rows = [dict(row) for row in self.rows]
        return {**asdict(self), "value": self.value._asdict(), "gain": gain, "rows": rows}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Figures:
        """The inverse of `to_dict`."""
        gain = None if found["gain"] is None else Interval(**found["gain"])
        return cls(**{**found, "value": Interval(**found["value"]), "gain": gain})

    @property
    def headline(self) -> str:
        """`accuracy .642 [.628, .655] · +.019 [+.010, +.027] over best single`, and what it was measured on."""
        text = f"{self.table}: {self.metric} {_span(self.value, '.3f')}"
        if self.gain is not None:
            text += f" · {_span(self.gain, '+.3f')} over {self.against}"
        text = f"{text}; {self.verdict}" if self.verdict else text
        return f"{text} (mechanism test)" if self.mechanism else text


@dataclass(frozen=True)
class System:
    """A preset. `build` gives its parts by role; with an `estimator` and a `policy` they are options of `Router.fit`.

    `number` is its place in the project's list of systems, None outside of it. `novelty` is the slot of the loop where
    the system's idea lives. `parts` are registered names as `kind:name`. `deviations` say where this preset differs
    from the paper, `limits` what the idea itself cannot do. `measure` is None for what cross-validation on `table`
    measures: a router.
    """

    name: str
    title: str
    level: Literal["request", "in-model"]
    claim: Claim
    parts: tuple[str, ...]
    novelty: RequestSlot | ModelSlot
    build: Callable[[], Mapping[str, Any]]
    deviations: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    number: int | None = None
    code: str | None = None
    table: str = "nine_llm"
    measure: Callable[[System, Run], Figures] | None = None

    @property
    def command(self) -> str:
        """What measures it, on the seeds of the figures last recorded."""
        measured = self.measured()
        return f"turnout systems run {self.name}" + (f" --seeds {seeds_option(measured.seeds)}" if measured else "")

    def run(self, run: Run) -> Figures:
        """Measure it. Raises ConfigError without data, LogError where the table cannot show it."""
        if self.measure is not None:
            found = self.measure(self, run)
        else:
            from turnout.systems._crossval import crossvalidated

            found = crossvalidated(self, run)
        return replace(found, seeds=tuple(run.seeds))

    def measured(self) -> Figures | None:
        """The figures last recorded, or None."""
        file = files("turnout.systems") / "measured" / f"{self.name}.json"
        return Figures.from_dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        measured = self.measured()
        return {
            "name": self.name,
            "number": self.number,
            "title": self.title,
            "level": self.level,
            "claim": self.claim.text,
            "source": self.claim.source,
            "code": self.code,
            "parts": list(self.parts),
            "novelty": self.novelty,
            "deviations": list(self.deviations),
            "limits": list(self.limits),
            "command": self.command,
            "measured": None if measured is None else measured.to_dict(),
        }


def seeds_option(seeds: Sequence[int]) -> str:
    """Seeds as the option `--seeds` takes them.

    >>> seeds_option((0, 1, 2)), seeds_option((5, 6)), seeds_option((7,))
    ('3', '5,6', '7,')
    """
    if list(seeds) == list(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def systems() -> tuple[System, ...]:
    """Every registered system, by name."""
    return tuple(registry.get("system", name) for name in registry.names("system"))


def markdown() -> str:
    """The page `docs/systems.md`."""
    found = systems()
    lines = [
        "# Published systems",
        "",
        "Generated by `turnout systems list --markdown`; do not edit. Figures are measured here, on held-out queries "
        "beside every baseline; claims are the authors'. Each command gives the figures beside it.",
        "",
        "| no. | system | level | novelty | claim | measured here | command |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(system) for system in found]
    for system in found:
        lines += ["", *_chapter(system)]
    return "\n".join(lines) + "\n"


def _line(system: System) -> str:
    measured = system.measured()
    return (
        f"| {system.number or '—'} | [{system.title}](#{system.name}) | {system.level} | {system.novelty} | "
        f"{system.claim.text} ({system.claim.source}) | {measured.headline if measured else 'not measured yet'} | "
        f"`{system.command}` |"
    )


def _chapter(system: System) -> list[str]:
    number = "" if system.number is None else f" (no. {system.number})"
    lines = [f'<a id="{system.name}"></a>', "", f"## {system.title}{number}", ""]
    lines += [f"- **Claim:** {system.claim.text} Source: {system.claim.source}."]
    lines += [f"- **Code of the authors:** {system.code}."] if system.code else []
    lines += [f"- **Parts:** {', '.join(f'`{part}`' for part in system.parts)}; its idea is the {system.novelty}."]
    lines += [f"- **Differs from the paper:** {text}" for text in system.deviations]
    lines += [f"- **Limits:** {text}" for text in system.limits]
    found = system.measured()
    return lines if found is None else [*lines, "", *_table(found, system.command)]


def _table(found: Figures, command: str) -> list[str]:
    columns = list(found.rows[0]) if found.rows else []
    kind = "Mechanism test: the data cannot show the effect, the machinery can. " if found.mechanism else ""
    return [
        f"{kind}{found.headline}. {found.protocol}. Command: `{command}`.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(_cell(row[column]) for column in columns)} |" for row in found.rows),
    ]


def _cell(value: str | float | None) -> str:
    """A figure with three digits after the point, or more where it is small."""
    if value is None:
        return "—"
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.1 else f"{value:.4f}"


def _span(interval: Interval, form: str) -> str:
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
