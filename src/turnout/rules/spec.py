"""What an operator may write: named signals, and rules with a condition, an effect and a priority."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from turnout.errors import ConfigError, did_you_mean
from turnout.types import FEATURES

SignalType = Literal[
    "keyword", "regex", "length", "language", "embedding", "contrast", "tenant", "needs", "conversation", "when"
]

# What each type of signal takes; the first is required (one of them where several stand in brackets).
TAKES: Mapping[str, tuple[str, ...]] = {
    "keyword": ("words", "match", "fuzzy", "turns"),
    "regex": ("pattern", "turns"),
    "length": ("min", "max"),
    "language": ("languages",),
    "embedding": ("examples", "min", "max", "turns"),
    "contrast": ("of", "examples", "against", "min", "max", "turns"),
    "tenant": ("tenants",),
    "needs": ("needs",),
    "conversation": ("turns",),
    "when": ("when",),
}
# How dear a type is to evaluate, in rough microseconds; the order in which parts of a rule are asked.
COST: Mapping[str, float] = {
    "tenant": 0.2, "needs": 0.2, "length": 0.3, "conversation": 0.2, "keyword": 3.0, "regex": 5.0, "language": 30.0,
    "embedding": 60.0, "contrast": 60.0,
}  # fmt: skip
# Languages that are told apart, and scripts whose languages are not.
LANGUAGES = (
    "en", "de", "fr", "es", "pt", "it", "nl", "zh", "ja", "ko", "cyrillic", "greek", "hebrew", "arabic", "indic",
    "thai", "other", "unknown",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """One named signal. `type` says which of the other fields count; see TAKES.

    A number (tokens of the whole prompt, cosine similarity, difference of similarities) matches where it lies in
    [`min`, `max`]. `turns` makes a text signal read all of the user's turns, the strongest counting; for
    `conversation` it asks whether there was an answer before.
    """

    type: SignalType
    words: tuple[str, ...] = ()
    match: Literal["any", "all", "none"] = "any"
    fuzzy: float | None = None
    pattern: str | None = None
    min: float | None = None
    max: float | None = None
    languages: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    of: str | None = None
    tenants: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    turns: bool = False
    when: str | None = None

    def check(self, name: str) -> None:
        """Raise ConfigError for a field that this type does not take, or one that it lacks."""
        where, takes = f"`router.signals.{name}`", TAKES[self.type]
        given = [f.name for f in fields(self) if f.name != "type" and getattr(self, f.name) != f.default]
        for field in given:
            if field not in takes:
                near = did_you_mean(field, takes)
                raise ConfigError(f"{where}: a {self.type} signal takes no `{field}`{near} it takes {', '.join(takes)}")
        if self.type == "contrast":
            if bool(self.of) == bool(self.examples and self.against):
                raise ConfigError(f"{where}: a contrast needs either `of`, or `examples` and `against`")
        elif self.type not in ("length", "conversation") and takes[0] not in given:
            raise ConfigError(f"{where}: a {self.type} signal needs `{takes[0]}`")
        self._check_numbers(where)
        for noun, values, known in (("feature", self.needs, FEATURES), ("language", self.languages, LANGUAGES)):
            for value in values:
                if value not in known:
                    near = did_you_mean(value, known)
                    raise ConfigError(f"{where}: unknown {noun} {value!r}{near} allowed: {', '.join(known)}")
        if any(not word.strip() for word in self.words):
            raise ConfigError(f"{where}: `words` holds an empty one, which every text contains")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ConfigError(f"{where}: the pattern {self.pattern!r} is not valid: {error}") from error

    def _check_numbers(self, where: str) -> None:
        if self.type in ("length", "embedding", "contrast") and self.min is None and self.max is None:
            raise ConfigError(f"{where}: a {self.type} signal needs `min` or `max`")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ConfigError(f"{where}: nothing lies in [{self.min:g}, {self.max:g}]; `min` must not exceed `max`")
        if self.fuzzy is not None and not 0 < self.fuzzy <= 1:
            raise ConfigError(f"{where}: `fuzzy` must be in (0, 1], got {self.fuzzy:g}")

    @property
    def low(self) -> float:
        return float("-inf") if self.min is None else self.min

    @property
    def high(self) -> float:
        return float("inf") if self.max is None else self.max


@dataclass(frozen=True, slots=True)
class Then:
    """What a rule does: refuse; or name the expert; or narrow the choice, and trade quality for cost in its own way.

    `lam` is in score per US dollar and `floor` a quality in [0, 1]; either one replaces the router's policy, and its
    guard with it, for this request.
    """

    expert: str | None = None
    among: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    lam: float | None = None
    floor: float | None = None
    refuse: str | None = None

    def check(self, rule: str) -> None:
        """Raise ConfigError for an effect that is empty or at odds with itself."""
        given = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        if not given:
            raise ConfigError(f"rule {rule!r}: `then` is empty; it takes {', '.join(f.name for f in fields(self))}")
        for alone in ("refuse", "expert"):
            if alone in given and len(given) > 1:
                other = next(name for name in given if name != alone)
                raise ConfigError(f"rule {rule!r}: `{alone}` stands alone, but `{other}` is there too")
        if self.lam is not None and self.floor is not None:
            raise ConfigError(f"rule {rule!r}: `lam` and `floor` are two policies; name one")
        if self.lam is not None and not 0 <= self.lam < float("inf"):
            raise ConfigError(f"rule {rule!r}: `lam` must be a number from 0, got {self.lam:g}")
        if self.floor is not None and not 0 <= self.floor <= 1:
            raise ConfigError(f"rule {rule!r}: `floor` must be in [0, 1], got {self.floor:g}")
        if self.refuse is not None and not self.refuse.strip():
            raise ConfigError(f"rule {rule!r}: `refuse` must say why")
        if self.among and not set(self.among) - set(self.avoid):
            raise ConfigError(f"rule {rule!r}: `avoid` leaves none of `among`")

    @property
    def experts(self) -> tuple[str, ...]:
        """Every expert that is named."""
        return (*((self.expert,) if self.expert else ()), *self.among, *self.avoid)

    def __str__(self) -> str:
        if self.refuse is not None:
            return f"refuse: {self.refuse}"
        words = [f"expert {self.expert}"] if self.expert else []
        words += [f"among {', '.join(self.among)}"] if self.among else []
        words += [f"avoid {', '.join(self.avoid)}"] if self.avoid else []
        words += [f"λ {self.lam:g}"] if self.lam is not None else []
        return "; ".join([*words, *([f"quality at least {self.floor:g}"] if self.floor is not None else [])])


@dataclass(frozen=True, slots=True)
class Rule:
    """`then` applies where `when` holds and no rule before it does. A higher `priority` goes first, then the order."""

    when: str
    then: Then
    name: str = ""
    priority: int = 0
