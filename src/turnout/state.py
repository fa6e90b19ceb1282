"""Components to plain JSON documents plus named arrays, and back. No pickle anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from turnout import registry
from turnout.base import Component
from turnout.errors import StateError
from turnout.features import Sparse

Arrays: TypeAlias = dict[str, NDArray[Any]]


def pack(value: Any, arrays: Arrays, path: str = "") -> Any:
    """The JSON form of a value; arrays go to `arrays` under their path. Tuples become lists."""
    if isinstance(value, Component):
        parts = {"params": value.params(), "state": value.learned()}
        packed = {k: pack(part, arrays, f"{path}.{k}") for k, part in parts.items()}
        return {"$": value.kind, "name": value.name, **packed}
    if isinstance(value, Sparse):
        for part in ("indptr", "indices", "data"):
            arrays[f"{path}:{part}"] = getattr(value, part)
        return {"$": "sparse", "path": path, "columns": value.columns}
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"$": "array", "path": path}
    if isinstance(value, Mapping):
        return {str(k): pack(v, arrays, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack(v, arrays, f"{path}.{i}") for i, v in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise StateError(f"cannot save {type(value).__name__} at {path or 'the root'}")


def unpack(document: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """The value that `pack` was given; lists come back as tuples. Raises StateError."""
    if isinstance(document, list):
        return tuple(unpack(item, arrays) for item in document)
    if not isinstance(document, dict):
        return document
    try:
        return _unpack_marked(document, arrays)
    except KeyError as error:
        raise StateError(f"the saved state lacks {error}") from error


def _unpack_marked(document: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    mark = document.get("$")
    if mark is None:
        return {key: unpack(item, arrays) for key, item in document.items()}
    if mark == "array":
        return arrays[document["path"]]
    if mark == "sparse":
        indptr, indices, data = (arrays[f"{document['path']}:{part}"] for part in ("indptr", "indices", "data"))
        return Sparse(indptr, indices, data, document["columns"])
    made = registry.create(mark, document["name"], **unpack(document["params"], arrays))
    for key, value in unpack(document["state"], arrays).items():
        setattr(made, key, value)
    return made
