"""Checks on a part of any kind."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from turnout.base import Number, Of, OneOf, Rule
from turnout.errors import ParameterError
from turnout.nn import testing
from turnout.nn._contract._refusal import refusal

__all__ = [
    "a_copy_is_equal_and_independent",
    "every_rule_is_about_a_parameter",
    "it_is_deterministic_with_a_seed",
    "no_tokens_and_one_token_work",
    "state_dict_round_trip",
    "wrong_parameters_are_refused_with_their_rule",
]

Make = Callable[..., Any]


def every_rule_is_about_a_parameter(make: Make) -> None:
    """`rules` names constructor parameters only."""
    made = make()
    unknown = set(made.rules) - set(inspect.signature(type(made)).parameters)
    assert not unknown, f"rules for {sorted(unknown)}, which are no parameters"


def wrong_parameters_are_refused_with_their_rule(make: Make) -> None:
    """A value outside its rule raises ParameterError, whose message has the parameter, the rule and the value."""
    for name, rule in make().rules.items():
        for value in _wrong(rule):
            if rule.allows(value):
                continue
            message = refusal(partial(make, **{name: value}), ParameterError)
            assert message is not None, f"`{name}` = {value!r} is accepted, but must be {rule}"
            lacking = [part for part in (f"`{name}`", str(rule), repr(value)) if part not in message]
            assert not lacking, f"the message {message!r} lacks {lacking}"


def it_is_deterministic_with_a_seed(make: Make) -> None:
    """Two passes with the same seed give the same tensors, also where something is drawn."""
    made = make()
    first = _values(made)
    for name, value in _values(made).items():
        assert _same(value, first[name]), f"{name} differs between two passes of one seed"


def state_dict_round_trip(make: Make) -> None:
    """A fresh part with this one's state does what this one does."""
    torch.manual_seed(0)
    made = make()
    testing.exercise(made)
    made.after_step()
    torch.manual_seed(1)
    other = make()
    missing = other.load_state_dict(copy.deepcopy(made.state_dict()))
    assert not missing.missing_keys, f"the state lacks {missing.missing_keys}"
    _borrow(other, made)
    for part in (made, other):
        part.eval()
    expected = _values(made)
    for name, value in _values(other).items():
        assert _same(value, expected[name]), f"{name} differs after loading the state"


def a_copy_is_equal_and_independent(make: Make) -> None:
    """`deepcopy` works after a pass and shares no memory with the original."""
    made = make()
    testing.exercise(made)
    twin = copy.deepcopy(made).eval()
    expected = _values(made.eval())
    for name, value in _values(twin).items():
        assert _same(value, expected[name]), f"{name} differs in a copy"
    own = {t.data_ptr() for t in made.state_dict().values() if t.numel()}
    shared = [name for name, t in twin.state_dict().items() if t.numel() and t.data_ptr() in own]
    assert not shared, f"a copy shares {shared}"


def no_tokens_and_one_token_work(make: Make) -> None:
    """T = 0 and T = 1 pass forward and backward with finite values, in training and in evaluation."""
    for training in (True, False):
        for tokens in (0, 1):
            made = make().train(training)
            found = testing.exercise(made, tokens)
            for name, value in found.items():
                assert bool(torch.isfinite(value.detach().float()).all()), f"{name} is not finite for T = {tokens}"
            output = found.get("output")
            if output is not None and output.requires_grad:
                torch.autograd.backward(output.float().sum())


def _values(part: Any) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return {name: value.detach().clone() for name, value in testing.exercise(part).items()}


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), atol=1e-6)


def _borrow(other: Any, made: Any) -> None:
    """What a part refers to without owning it (a pool, a weak expert) is not in its state; take the original's."""
    for name, value in vars(made).items():
        if isinstance(value, tuple) and any(isinstance(item, nn.Module) for item in value):
            setattr(other, name, value)


def _wrong(rule: Rule) -> list[object]:
    if isinstance(rule, Number):
        outside = [value for value in (rule.low - 1, rule.high + 1) if abs(value) < float("inf")]
        whole = [int(value) for value in outside] if rule.integer else outside
        return ["one", True, *whole, *([1.5] if rule.integer else []), None]
    if isinstance(rule, OneOf):
        return ["no such option", 3.25]
    return [object()] if isinstance(rule, Of) else []
