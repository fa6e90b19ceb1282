"""What a fresh interpreter imports when a saved component is loaded and asked."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from turnout import state

HEAVY = ("sklearn", "scipy", "polars", "pandas", "torch", "matplotlib", "aiohttp")

_SCRIPT = """
import importlib, json, sys
import numpy as np
from turnout import state

document = json.loads(sys.stdin.read())
with np.load(document["arrays"], allow_pickle=False) as archive:
    arrays = {name: archive[name] for name in archive.files}
made, argument = (state.unpack(document[part], arrays) for part in ("made", "argument"))
given = [argument] if document["one"] else list(argument)
if document["wrapped"]:
    module, _, name = document["wrapped"].partition(":")
    given = [getattr(importlib.import_module(module), name)(*given)]
getattr(made, document["method"])(*given)
print(json.dumps([name for name in document["heavy"] if name in sys.modules]))
"""


def heavy_imports(
    made: Any, method: str, *arguments: Any, heavy: Sequence[str] = HEAVY, wrapped: str = ""
) -> list[str]:
    """Names of heavy packages that a subprocess has loaded after calling the method on the saved component.

    `wrapped`, as `module:class`, is called with the arguments, and the method with what it makes of them.
    """
    arrays: dict[str, Any] = {}
    document = {
        "made": state.pack(made, arrays, "made"),
        "argument": state.pack(arguments[0] if len(arguments) == 1 else list(arguments), arrays, "argument"),
        "one": len(arguments) == 1,
        "method": method,
        "wrapped": wrapped,
        "heavy": list(heavy),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, **arrays)
        text = json.dumps({**document, "arrays": str(path)})
        shown = subprocess.run([sys.executable, "-c", _SCRIPT], input=text, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, f"a fresh interpreter fails: {shown.stderr.strip()[-500:]}"
    found: list[str] = json.loads(shown.stdout)
    return found
