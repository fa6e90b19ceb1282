"""Flags in a prompt (`[Flag: smallest model]`) as weights on what an expert costs. Shape letter: E experts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from turnout.features import Floats

WEIGHTS: Mapping[str, Mapping[str, float]] = {  # score that a whole range of price or size is worth
    "best value": {"price": 0.1},
    "cheapest": {"price": 1.0},
    "smallest model": {"size": 1.0},
}
_FLAG = re.compile(r"\[flag:\s*([^\]]*?)\s*\]\s*", re.IGNORECASE)
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)


def flags(prompt: str) -> tuple[str, dict[str, float]]:
    """The prompt without its flags, and the weights that they add up to; unknown flags stay in the text.

    >>> flags("[Flag: cheapest] Name a river.")
    ('Name a river.', {'price': 1.0})
    >>> flags("[Flag: purple] Name a river.")
    ('[Flag: purple] Name a river.', {})
    """
    found: dict[str, float] = {}

    def read(match: re.Match[str]) -> str:
        weights = WEIGHTS.get(match[1].lower())
        for name, weight in (weights or {}).items():
            found[name] = found.get(name, 0.0) + weight
        return match[0] if weights is None else ""

    return _FLAG.sub(read, prompt), found


def penalty(weights: Mapping[str, float], experts: Sequence[str], cost_E: Floats) -> Floats:
    """What each expert loses by the flags, (E,): weights times price and size, both from 0 (least) to 1 (most)."""
    size_E = np.array([billions(name) for name in experts])
    return weights.get("price", 0.0) * _unit(cost_E) + weights.get("size", 0.0) * _unit(size_E)


def billions(name: str) -> float:
    """The billions of parameters that a model's name tells; NaN where it tells none.

    >>> billions("llama-3.1-8b-instruct"), billions("qwen2.5-coder-1.5b")
    (8.0, 1.5)
    """
    found = _SIZE.findall(name)
    return float(found[-1]) if found else float("nan")


def _unit(values_E: Floats) -> Floats:
    """A name without a size counts as the largest."""
    filled_E = np.where(np.isfinite(values_E), values_E, np.nanmax(values_E, initial=0.0))
    width = float(np.ptp(filled_E))
    return (filled_E - filled_E.min()) / width if width > 0 else np.zeros_like(filled_E)
