"""Graders of the user's own: functions in a Python file that the command line names, never a file of questions."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from turnout import registry
from turnout.errors import ConfigError, LogError

Target: TypeAlias = str | tuple[str, ...]
Function: TypeAlias = Callable[[str, Target], float]


def read_functions(named: Sequence[str]) -> Mapping[str, Function]:
    """Functions from `FILE.py:NAME`, by name; each takes a response and the target, and returns a score in [0, 1].

    The file runs as any module does, and what it raises is shown. Raises ConfigError.
    """
    found: dict[str, Function] = {}
    for each in named:
        path, _, name = each.rpartition(":")
        if not path or not name.isidentifier():
            raise ConfigError(f"`--grader` must be FILE.py:FUNCTION, got {each!r}")
        if name in registry.names("grader") or name in found:
            raise ConfigError(f"`--grader` {each!r}: there is a grader {name!r} already; name the function otherwise")
        found[name] = _checked(_read(Path(path), name), each)
    return found


def _read(path: Path, name: str) -> Function:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"`--grader`: no Python file {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Any = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise ConfigError(f"`--grader`: {str(path)!r} has no function {name!r}; it has {there or 'none'}")
    return function  # type: ignore[no-any-return]  # what it returns is checked at every call


def _checked(function: Function, named: str) -> Function:
    def score(response: str, target: Target) -> float:
        value = function(response, target)
        value = value.item() if isinstance(value, np.generic) else value
        if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
            raise LogError(f"grader {named!r} must return a number in [0, 1], got {value!r}")
        return float(value)

    return score
