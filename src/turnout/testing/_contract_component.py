"""Checks on any component."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from turnout import registry, state
from turnout.base import Component, Number, OneOf
from turnout.errors import ParameterError

__all__ = [
    "clone_is_an_unfitted_copy",
    "constructor_only_assigns",
    "every_rule_is_about_a_parameter",
    "params_round_trip",
    "unfitted_state_round_trip",
    "wrong_parameters_are_refused_with_their_rule",
]

Make = Callable[..., Any]


def constructor_only_assigns(make: Make) -> None:
    """After the constructor there are the parameters and nothing else, each the very object that was passed."""
    made = make()
    parameters = inspect.signature(type(made)).parameters
    assert set(vars(made)) == set(parameters), f"attributes {sorted(vars(made))}, parameters {sorted(parameters)}"
    assert not made.learned(), f"learned before fit: {sorted(made.learned())}"
    marks = {name: object() for name in parameters}
    marked = type(made)(**marks)
    changed = [name for name, mark in marks.items() if getattr(marked, name) is not mark]
    assert not changed, f"the constructor changes {changed}"


def params_round_trip(make: Make) -> None:
    """`cls(**made.params())` has the same parameters."""
    made = make()
    again = type(made)(**made.params())
    assert repr(again) == repr(made), f"{again!r} differs from {made!r}"


def clone_is_an_unfitted_copy(make: Make) -> None:
    """A clone has equal parameters, no learned state, and no component in common with the original."""
    made = make()
    made.mark_ = 1
    copied = made.clone()
    assert type(copied) is type(made), f"the clone is a {type(copied).__name__}"
    assert copied is not made, "the clone is the original"
    assert not copied.learned(), f"the clone has {sorted(copied.learned())}"
    assert repr(copied) == repr(made), f"{copied!r} differs from {made!r}"
    shared = [part for part in _parts(copied.params()) if any(part is other for other in _parts(made.params()))]
    assert not shared, f"the clone shares {shared}"


def every_rule_is_about_a_parameter(make: Make) -> None:
    """`rules` names parameters only, and the defaults keep them."""
    made = make()
    unknown = set(made.rules) - set(made.params())
    assert not unknown, f"rules for {sorted(unknown)}, which are no parameters"
    made.check()


def wrong_parameters_are_refused_with_their_rule(make: Make) -> None:
    """A value outside its rule raises ParameterError, whose message has the parameter, the rule and the value."""
    for name, rule in make().rules.items():
        for value in _wrong(rule):
            if rule.allows(value):
                continue
            message = refusal(ParameterError, make(**{name: value}).check)
            assert message is not None, f"`{name}` = {value!r} is accepted, but must be {rule}"
            lacking = [part for part in (f"`{name}`", str(rule), repr(value)) if part not in message]
            assert not lacking, f"the message {message!r} lacks {lacking}"


def unfitted_state_round_trip(make: Make) -> None:
    """A registered component's parameters survive saving and loading."""
    made = make()
    if not registered(made):
        return
    arrays: dict[str, Any] = {}
    loaded = state.unpack(state.pack(made, arrays), arrays)
    assert repr(loaded) == repr(made), f"{loaded!r} differs from {made!r}"


def refusal(error_type: type[Exception], call: Callable[[], object]) -> str | None:
    """The message of the error that the call raises, None where it raises none of the type."""
    try:
        call()
    except error_type as error:
        return str(error)
    return None


def registered(made: Component) -> bool:
    """Whether saving knows the component by its name."""
    return made.name in registry.names(made.kind) and registry.get(made.kind, made.name) is type(made)


def _wrong(rule: object) -> list[object]:
    values: list[object] = [object(), None, "no such value", -1, True, np.nan, []]
    if isinstance(rule, Number):
        values += [rule.low - 1, rule.high + 1, 0.5]
    if isinstance(rule, OneOf):
        values += ["none of these"]
    return values


def _parts(params: dict[str, Any]) -> list[Component]:
    values = [item for value in params.values() for item in (value if isinstance(value, (tuple, list)) else (value,))]
    return [value for value in values if isinstance(value, Component)]
