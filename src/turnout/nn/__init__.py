"""Routing inside a network: mixture-of-experts layers, adapters and routers as torch parts.

Torch is loaded here and nowhere else; install it with the extra `nn`. Names load lazily: a registered part's class is
its file's name without underscores, so `TopK` is `selectors/top_k.py`.

>>> from turnout.nn import TopK
>>> TopK.name, TopK.kind
('top_k', 'selector')
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

from turnout import registry
from turnout.errors import ConfigError

KINDS = ("gate", "selector", "balancer", "experts", "dispatcher", "combiner")
HOMES = {
    "Chain": "chain",
    "OutputOnly": "layer",
    "Override": "plan",
    "Plan": "plan",
    "Routed": "layer",
    "RoutedLayer": "layer",
    "RoutingContext": "plan",
    "RoutingStats": "statistics.base",
    "losses": "layer",
    "update_biases": "layer",
}


def __getattr__(name: str) -> Any:
    if name in HOMES or name.lower() in _parts():
        need_torch("turnout.nn")
    if name in HOMES:
        return getattr(importlib.import_module(f"turnout.nn.{HOMES[name]}"), name)
    kind, part = _parts().get(name.lower(), ("", ""))
    if kind and (found := registry.get(kind, part)).__name__ == name:
        return found
    raise AttributeError(f"module 'turnout.nn' has no attribute {name!r}")


def need_torch(who: str) -> None:
    """Raise ConfigError naming the extra where torch is missing."""
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(f"{who} needs torch: pip install 'turnout[nn]'")


@cache
def _parts() -> dict[str, tuple[str, str]]:
    """Registered parts by their class's name in lower case."""
    return {name.replace("_", ""): (kind, name) for kind in KINDS for name in registry.names(kind)}
