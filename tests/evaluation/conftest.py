"""A small made log where the best expert depends on a word of the prompt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from turnout.outcomes import OutcomeLog


def made_log(n: int = 320, seed: int = 0, *, partial: bool = False, priced: bool = True) -> OutcomeLog:
    """Sums go to `sums`, names to `names`; `big` does both well at ten times the price."""
    rng = np.random.default_rng(seed)
    kind_N = rng.integers(0, 2, n)
    words = ["add the plus total sums", "name the rivers of town"]  # of one length: only the words tell
    prompts = [
        f"{words[k]} number {i} {'and so on ' * rng.integers(0, 5)}{rng.integers(1e6)}" for i, k in enumerate(kind_N)
    ]
    chance_NE = np.stack([0.85 - 0.7 * kind_N, 0.15 + 0.7 * kind_N, np.full(n, 0.6)], axis=1)
    score_NE = (rng.random((n, 3)) < chance_NE) * 1.0
    if partial:
        score_NE = np.where(rng.random((n, 3)) < [1.0, 1.0, 0.5], score_NE, np.nan)
    size_N1 = np.array([[len(prompt)] for prompt in prompts])
    return OutcomeLog.from_arrays(
        prompts,
        ["sums", "names", "big"],
        score_NE,
        cost_NE=size_N1 * np.array([1e-6, 1.2e-6, 1e-5]) if priced else None,
        tasks=["sums" if k == 0 else "names" for k in kind_N],
    )


@pytest.fixture(scope="session")
def make_log() -> Callable[..., OutcomeLog]:
    return made_log


@pytest.fixture(scope="session")
def log() -> OutcomeLog:
    return made_log()
