"""Simulated logs: one on which experts differ by the kind of question, one of pure noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from turnout import registry
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.types import Arm, Limits, Price

EXPERTS = ("small", "maths", "words")
ARMS = (
    Arm("small", price=Price(0.1, 0.4)),
    Arm("maths", price=Price(1.0, 4.0), limits=Limits(context=2000)),
    Arm("words", price=Price(1.0, 4.0), limits=Limits(features=frozenset())),
)


def prompts(n: int, rng: np.random.Generator) -> list[str]:
    """Even rows are sums, odd rows sentences; no two are near-duplicates."""
    syllables = ["ba", "ke", "li", "mo", "nu", "pra", "sto", "tri", "vel", "wix", "yon", "zed"]

    def sentence() -> str:
        at = rng.integers(0, len(syllables), (rng.integers(8, 30), 3)).tolist()
        return " ".join("".join(syllables[i] for i in word) for word in at)

    def sums() -> str:
        return " + ".join(map(str, rng.integers(100, 99999, rng.integers(5, 15)).tolist())) + " ="

    return [sums() if i % 2 == 0 else f"Tell me about {sentence()}?" for i in range(n)]


def simulate(n: int = 400, *, seed: int = 0, gain: float = 0.4, tokens: bool = True) -> OutcomeLog:
    """`gain` is how much better the specialist is on its own kind of question; 0 leaves noise alone."""
    rng = np.random.default_rng(seed)
    texts = prompts(n, rng)
    sum_N = np.arange(n) % 2 == 0
    mean_NE = np.stack([np.full(n, 0.5), 0.5 + gain * np.where(sum_N, 1, -1), 0.5 - gain * np.where(sum_N, 1, -1)], 1)
    scores_NE = (rng.random((n, 3)) < mean_NE).astype(float)
    size_N1 = np.array([len(text) // 4 for text in texts])[:, None]
    columns = {"prompt_tokens": np.tile(size_N1, 3), "completion_tokens": rng.integers(20, 60, (n, 3))}
    tasks = ["sum" if kind else "words" for kind in sum_N]
    return OutcomeLog.from_arrays(texts, EXPERTS, scores_NE, tasks=tasks, columns_NE=columns if tokens else None)


def cheap() -> object:
    """An estimator that fits in milliseconds."""
    return registry.create("estimator", "ridge", on=("format",))


@pytest.fixture(scope="session")
def make_log() -> Callable[..., OutcomeLog]:
    return simulate


@pytest.fixture(scope="session")
def make_router() -> Callable[..., Router]:
    # what tests ask is shorter than what they log, and most of them are not about novelty
    def make(log: OutcomeLog | None = None, **options: object) -> Router:
        return Router.fit(log or simulate(), **{"arms": ARMS, "estimator": cheap(), "novelty": 0.0, **options})

    return make


@pytest.fixture(scope="session")
def router(make_router: Callable[..., Router]) -> Router:
    """Fitted once; tests that change a router take a `copy`."""
    return make_router()


@pytest.fixture(scope="session")
def arms() -> tuple[Arm, ...]:
    return ARMS
