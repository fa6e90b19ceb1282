"""A table of pandas in a pickle, read as data: nothing is imported, called or built, so nothing in it can run.

A pickle is a program for a stack machine. Here its few opcodes that describe a table are followed, every object
becoming a record of its name, its arguments and its state, and the table is put together from the records. Read is what
`DataFrame.to_pickle` of pandas 1.5 to 3 writes, protocols 4 and 5.

Limits: columns of numbers, truths and texts under plain names; anything else (dates, categories) is refused.
"""

from __future__ import annotations

import mmap
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from turnout.errors import LogError

_DTYPE = re.compile(r"[fiu][1248]|b1|O[48]?")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8")
_VALUES = frozenset((*_TEXTS, "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"))
_MOST_COLUMNS = 100_000
_MARK = object()


@dataclass(slots=True)
class _Made:
    """What a pickle would have imported or built."""

    name: str
    args: Any = ()
    state: Any = None


def mentions(file: Path, *names: str) -> bool:
    """Whether a file starts like the pickle of a table and has all the names somewhere."""
    with file.open("rb") as handle:
        start = handle.read(256)
        if start[:2] not in (b"\x80\x04", b"\x80\x05") or b"pandas" not in start or b"DataFrame" not in start:
            return False
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(name.encode()) >= 0 for name in names)


def rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The table's rows with their places. Raises LogError."""
    try:
        columns = _table(_run(file))
    except _Refused as error:
        raise LogError(f"{file}: not a pickled table that can be read: {error}") from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise LogError(f"{file}: not a sound pickle of a table: {type(error).__name__}: {error}") from error
    for number, values in enumerate(zip(*columns.values(), strict=True), 1):
        yield f"{file}: row {number}", dict(zip(columns, values, strict=True))


class _Refused(Exception):
    """A pickle that does more than describe a table."""


def _run(file: Path) -> Any:
    """What stands on the stack at the end."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    # A map gives no more bytes than the file has; a file would first make room for as many as a damaged length says.
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for code, found, _ in pickletools.genops(cast("Any", content)):
            name, argument = code.name, cast("Any", found)
            if name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in _VALUES:
                stack.append(argument)
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                _step(name, stack)
    raise _Refused("it has no end")


def _step(name: str, stack: list[Any]) -> None:
    """One of the rarer opcodes."""
    if name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name == "MARK":
        stack.append(_MARK)
    elif name in _TUPLES:
        count = _TUPLES[name]
        stack[-count:] = [tuple(stack[-count:])]
    elif name == "TUPLE":
        items = _to_mark(stack)
        stack.append(tuple(items))
    elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else _to_mark(stack)
        stack[-1].extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _to_mark(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name == "STACK_GLOBAL":
        attribute, module = stack.pop(), stack.pop()
        stack.append(_Made(f"{module}.{attribute}"))
    elif name in ("REDUCE", "NEWOBJ"):
        arguments, function = stack.pop(), stack.pop()
        stack.append(_Made(function.name, arguments))
    elif name == "BUILD":
        state = stack.pop()
        if not isinstance(stack[-1], _Made):
            raise _Refused("it builds on something else than an object")
        stack[-1].state = state
    else:
        raise _Refused(f"it uses {name}")


def _to_mark(stack: list[Any]) -> list[Any]:
    at = len(stack) - 1
    while stack[at] is not _MARK:
        at -= 1
        if at < 0:
            raise _Refused("a mark is missing")
    items = stack[at + 1 :]
    del stack[at:]
    return items


def _table(root: Any) -> dict[str, list[Any]]:
    """Values by column, in the table's order."""
    if not isinstance(root, _Made) or not root.name.endswith(".DataFrame"):
        raise _Refused(f"it holds {getattr(root, 'name', type(root).__name__)}, not a table")
    manager = root.state.get("_mgr", root.state.get("_data"))
    blocks, axes = manager.args[:2]
    names = _index(axes[0])
    columns: dict[int, list[Any]] = {}
    for block in blocks:
        values, placement = _array(block.args[0]), _places(block.args[1], len(names))
        values = values.reshape(1, -1) if values.ndim == 1 else values
        if len(values) != len(placement):
            raise _Refused(f"a block of {len(values)} columns has {len(placement)} places")
        columns.update(zip(placement, values.tolist(), strict=True))
    if sorted(columns) != list(range(len(names))) or len(set(names)) != len(names):
        raise _Refused("its blocks do not fill its columns")
    return {str(names[i]): columns[i] for i in range(len(names))}


def _index(made: _Made) -> list[Any]:
    """The labels of an axis."""
    facts = made.args[1]
    if "data" in facts:
        return list(_array(facts["data"]).tolist())
    labels = range(facts["start"], facts["stop"], facts["step"])
    if len(labels) > _MOST_COLUMNS:
        raise _Refused(f"{len(labels):,} columns")
    return list(labels)


def _places(made: _Made, count: int) -> list[int]:
    """Which columns a block holds."""
    if made.name == "builtins.slice":
        return list(range(count))[slice(*made.args)]
    return [int(place) for place in _array(made).tolist()]


def _array(made: _Made) -> Any:
    """An array of numbers, truths or Python values."""
    if made.name.endswith("._frombuffer"):
        data, dtype, shape, order = made.args
        return _numbers(data, dtype, shape, order == "F")
    if made.name.endswith("._reconstruct"):
        _, shape, dtype, fortran, data = made.state
        if not isinstance(data, list):
            return _numbers(data, dtype, shape, bool(fortran))
        array = np.empty(len(data), dtype=object)
        array[:] = data
        return array.reshape(shape, order="F" if fortran else "C")
    for inner in made.state if isinstance(made.state, tuple) else ():
        if isinstance(inner, _Made) and inner.name.endswith(("._frombuffer", "._reconstruct")):
            return _array(inner)  # an extension array of texts around a plain one
    raise _Refused(f"it holds a column of {made.name}")


def _numbers(data: Any, dtype: _Made, shape: Any, fortran: bool) -> Any:
    if not isinstance(data, (bytes, bytearray)):
        raise _Refused(f"it holds numbers in {type(data).__name__}")
    return np.frombuffer(bytes(data), dtype=_dtype(dtype)).reshape(shape, order="F" if fortran else "C")


def _dtype(made: _Made) -> np.dtype[Any]:
    code = made.args[0]
    if made.name != "numpy.dtype" or not isinstance(code, str) or not _DTYPE.fullmatch(code) or code.startswith("O"):
        raise _Refused(f"it holds values of type {code!r}")
    return np.dtype(code).newbyteorder(">" if made.state and made.state[1] == ">" else "<")
