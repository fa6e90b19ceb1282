"""Turnout: routing work to experts. Attributes load lazily, so that `import turnout` costs nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog
    from turnout.routers import Router
    from turnout.types import Arm, Decision, Limits, Plan, Price, Request

__version__ = "0.1.0"
_HOMES = {
    "Arm": "types",
    "Decision": "types",
    "Limits": "types",
    "OutcomeLog": "outcomes",
    "Plan": "types",
    "Price": "types",
    "Request": "types",
    "Router": "routers",
}
__all__ = ["Arm", "Decision", "Limits", "OutcomeLog", "Plan", "Price", "Request", "Router", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'turnout' has no attribute {name!r}")
    return getattr(importlib.import_module(f"turnout.{_HOMES[name]}"), name)
