"""Built-ins are found by file name without importing them; third parties bring entry points `turnout.<kind>s`.

A module's name is the registered name, and its `__all__` holds exactly the one object that is registered.

>>> "tfidf" in names("signal")
True
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from turnout.errors import UnknownNameError

ROOMS: dict[str, str] = {
    "signal": "turnout.signals",
    "estimator": "turnout.estimators",
    "policy": "turnout.policies",
    "calibrator": "turnout.stats.calibrators",
    "matcher": "turnout.cards.matchers",
    "floor": "turnout.cards.floors",
    "grader": "turnout.collect.graders",
    "importer": "turnout.importers",
    "mode": "turnout.modes",
    "gate": "turnout.nn.gates",
    "selector": "turnout.nn.selectors",
    "balancer": "turnout.nn.balancers",
    "experts": "turnout.nn.experts",
    "dispatcher": "turnout.nn.dispatch",
    "combiner": "turnout.nn.combiners",
    "system": "turnout.systems",
}
_MORE = {"system": ("turnout.nn.presets",)}  # presets of routing inside a network live beside its parts


def names(kind: str) -> tuple[str, ...]:
    """Every registered name of a kind, sorted."""
    return tuple(sorted({*_built_in(kind), *_third_party(kind)}))


def get(kind: str, name: str) -> Any:
    """The registered class or object; imports its module. Raises UnknownNameError."""
    if name in _built_in(kind):
        module = importlib.import_module(f"{_built_in(kind)[name]}.{name}")
        (public,) = module.__all__
        return getattr(module, public)
    if name in _third_party(kind):
        return _third_party(kind)[name].load()
    raise UnknownNameError(kind, name, names(kind))


def create(kind: str, name: str, **params: object) -> Any:
    """An instance with its parameters checked."""
    made = get(kind, name)(**params)
    made.check()
    return made


@cache
def _built_in(kind: str) -> Mapping[str, str]:
    """Each built-in's name and the package it lives in."""
    if kind not in ROOMS:
        raise UnknownNameError("kind", kind, ROOMS)
    return {name: room for room in (ROOMS[kind], *_MORE.get(kind, ())) for name in _files(room)}


def _files(room: str) -> Iterator[str]:
    spec = importlib.util.find_spec(room)
    paths = list(spec.submodule_search_locations or ()) if spec else []
    found = (m.name for m in pkgutil.iter_modules(paths) if not m.ispkg)
    return (name for name in found if name != "base" and not name.startswith("_"))


@cache
def _third_party(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"turnout.{kind}s")}
