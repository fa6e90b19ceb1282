"""Parameter rules that only estimators need."""

from __future__ import annotations

from dataclasses import dataclass

from turnout.base import Rule


@dataclass(frozen=True)
class Names:
    """One or more distinct names of signals."""

    def allows(self, value: object) -> bool:
        if not isinstance(value, (tuple, list)) or not value:
            return False
        return all(isinstance(name, str) and name for name in value) and len(set(value)) == len(value)

    def __str__(self) -> str:
        return "a tuple of one or more distinct names of signals"


@dataclass(frozen=True)
class Each:
    """A tuple of one or more instances of one class."""

    cls: type

    def allows(self, value: object) -> bool:
        return isinstance(value, (tuple, list)) and bool(value) and all(isinstance(item, self.cls) for item in value)

    def __str__(self) -> str:
        return f"a tuple of one or more of type {self.cls.__name__}"


@dataclass(frozen=True)
class Several:
    """A tuple of any number of values, each allowed by one rule."""

    rule: Rule

    def allows(self, value: object) -> bool:
        return isinstance(value, (tuple, list)) and all(self.rule.allows(item) for item in value)

    def __str__(self) -> str:
        return f"a tuple, each of its items {self.rule}"


@dataclass(frozen=True)
class Shares:
    """None, or a tuple of numbers >= 0 that sum to one."""

    def allows(self, value: object) -> bool:
        if value is None:
            return True
        if not isinstance(value, (tuple, list)) or not value:
            return False
        numbers = all(isinstance(item, (int, float)) and not isinstance(item, bool) and item >= 0 for item in value)
        return numbers and abs(sum(value) - 1.0) < 1e-6

    def __str__(self) -> str:
        return "None or a tuple of numbers >= 0 that sum to one"
