"""The contract of signals, estimators, policies, matchers, floors, modes and importers, as functions that raise
AssertionError.

Needs no test framework.

Call `run` on a class of your own, or collect `checks(kind)` into your test framework. `KNOWN_FAILURES` lists what a
built-in fails on purpose, with the reason; a known failure that passes is an error too.

>>> from turnout.estimators.constant import Constant
>>> "predict_before_fit_is_refused" in run(Constant)
True
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from turnout.base import Component
from turnout.errors import UnknownNameError

Make: TypeAlias = Callable[..., Any]
Check: TypeAlias = Callable[[Make], None]

KINDS = ("signal", "estimator", "policy", "matcher", "floor", "mode", "importer")

KNOWN_FAILURES: Mapping[tuple[str, str, str], str] = MappingProxyType(
    {
        (
            "policy",
            "share",
            "dearer_is_never_better",
        ): "its rule is a share of requests; cost only names the strong one",
    }
)


def checks(kind: str) -> Iterator[tuple[str, Check]]:
    """Name and function of every check of a kind (one of `KINDS`), those of all kinds first.

    A check takes a factory: called without arguments it gives a fresh component, keywords override parameters.
    Raises UnknownNameError for a kind without a battery.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    for module in ("_contract_component", f"_contract_{kind}"):
        found = importlib.import_module(f"turnout.testing.{module}")
        for name in found.__all__:
            yield name, getattr(found, name)


def run(cls: type[Component], **params: object) -> list[str]:
    """Every check on a class, built with the given parameters; the names of the checks that ran.

    Raises AssertionError, prefixed with the check's name, for the first that fails unexpectedly.
    """

    def make(**changes: object) -> Component:
        return cls(**{**params, **changes})

    names = []
    for name, check in checks(cls.kind):
        run_one(name, partial(check, make), KNOWN_FAILURES.get((cls.kind, cls.name, name)))
        names.append(name)
    return names


def run_one(name: str, check: Callable[[], object], known: str | None) -> None:
    """One check; `known` is why it is known to fail.

    Raises AssertionError, prefixed with the check's name, where it fails unexpectedly, or passes so.
    """
    try:
        check()
    except AssertionError as error:
        if known is None:
            raise AssertionError(f"{name}: {error}") from error
    else:
        if known is not None:
            raise AssertionError(f"{name}: passes, but is listed as a known failure ({known})")
