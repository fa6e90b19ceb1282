"""Write `turnout/nn/__init__.pyi`: what the lazy names of `turnout.nn` are, for type checkers and editors."""

from __future__ import annotations

from pathlib import Path

from turnout import registry
from turnout.nn import HOMES, KINDS

STUB = Path(__file__).parents[1] / "src" / "turnout" / "nn" / "__init__.pyi"


def stub() -> str:
    """The file's text: every core name and every registered part, imported from where it lives."""
    homes = {f"turnout.nn.{module}": {name for name in HOMES if HOMES[name] == module} for module in HOMES.values()}
    for kind in KINDS:
        for name in registry.names(kind):
            part = registry.get(kind, name)
            if part.__module__.startswith("turnout.nn."):
                homes.setdefault(part.__module__, set()).add(part.__name__)
    lines = [
        f"from {module} import {name} as {name}" for module, names in sorted(homes.items()) for name in sorted(names)
    ]
    tail = ["KINDS: tuple[str, ...]", "HOMES: dict[str, str]", "", "def need_torch(who: str) -> None: ...", ""]
    return "\n".join([*lines, "", *tail])


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
