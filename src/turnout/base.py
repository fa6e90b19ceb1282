"""What every signal, estimator and policy shares: parameter rules, clone, and state that saves without pickle."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from turnout.errors import NotFittedError, ParameterError


class Rule(Protocol):
    """A check on one parameter; `str(rule)` completes the sentence `must be …`."""

    def allows(self, value: object) -> bool: ...


@dataclass(frozen=True)
class Number:
    """A number in [low, high]; `integer` asks for an int, `optional` also allows None."""

    low: float = float("-inf")
    high: float = float("inf")
    integer: bool = False
    optional: bool = False

    def allows(self, value: object) -> bool:
        if value is None:
            return self.optional
        kinds = (int,) if self.integer else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        noun = "an integer" if self.integer else "a number"
        return f"{noun} in [{self.low:g}, {self.high:g}]" + (" or None" if self.optional else "")


@dataclass(frozen=True)
class OneOf:
    """One of the listed values."""

    options: tuple[object, ...]

    def allows(self, value: object) -> bool:
        return value in self.options

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(option) for option in self.options)


@dataclass(frozen=True)
class Of:
    """An instance of one of the classes."""

    classes: tuple[type, ...]

    def allows(self, value: object) -> bool:
        return isinstance(value, self.classes)

    def __str__(self) -> str:
        return "of type " + " or ".join(cls.__name__ for cls in self.classes)


class Registered:
    """What is found by its file's name; `rules` holds a rule per constructor parameter."""

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    rules: ClassVar[Mapping[str, Rule]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__module__.rpartition(".")[2]

    def require(self, **params: object) -> None:
        """Raise ParameterError for the first parameter that breaks its rule."""
        for name, value in params.items():
            if not self.rules[name].allows(value):
                said = f"{type(self).__name__}: `{name}` must be {self.rules[name]}, got {value!r}"
                raise ParameterError(said)


class Component(Registered):
    """A registered part that can be copied and saved. `__init__` only assigns; what is learned ends in `_`."""

    def params(self) -> dict[str, Any]:
        """The constructor's arguments as they stand now."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def clone(self, **changes: object) -> Self:
        """An unfitted copy, its parts copied too, with some parameters changed."""
        return type(self)(**{**{key: _copied(value) for key, value in self.params().items()}, **changes})

    def check(self) -> None:
        """Raise ParameterError for the first parameter that breaks its rule."""
        self.require(**{name: getattr(self, name) for name in self.rules})

    def learned(self) -> dict[str, Any]:
        """What `fit` set: public attributes that end in `_`."""
        return {key: value for key, value in vars(self).items() if _is_learned(key)}

    def require_fitted(self) -> None:
        """Raise NotFittedError where `fit` has not run."""
        for attribute in reversed(vars(self)):  # what is learned is set last, so it is found first
            if _is_learned(attribute):
                return
        raise NotFittedError(f"{type(self).__name__} is not fitted; call `fit` first")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.params().items())})"


def _copied(value: Any) -> Any:
    if isinstance(value, Component):
        return value.clone()
    return tuple(map(_copied, value)) if isinstance(value, tuple) else value


def _is_learned(attribute: str) -> bool:
    return attribute[-1] == "_" and attribute[0] != "_"
