"""Made-up queries whose true scores are known. Shape letters: N queries, E experts, D columns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from turnout.features import Floats, Sparse


def _linear(rows: int, *, width: int = 5, noise: float = 0.1, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Features, noisy scores and true means of three experts, linear in the features."""
    random = np.random.default_rng(seed)
    x_ND = random.normal(size=(rows, width)).astype(np.float32)
    slope_DE = np.random.default_rng(99).normal(size=(width, 3)) * 0.05
    mean_NE = 0.5 + x_ND @ slope_DE
    return x_ND, mean_NE + noise * random.normal(size=mean_NE.shape), mean_NE


def _sparse(x_ND: Floats) -> Sparse:
    """The same numbers in sparse rows; zeros are not stored."""
    kept_ND = x_ND != 0
    indptr = np.concatenate([[0], np.cumsum(kept_ND.sum(axis=1))]).astype(np.int64)
    return Sparse(indptr, np.nonzero(kept_ND)[1].astype(np.int32), x_ND[kept_ND].astype(np.float32), x_ND.shape[1])


def _clusters(rows: int, *, seed: int = 0) -> tuple[Floats, Floats, list[str]]:
    """Three well-separated tasks, in each of which another of three experts is right (0.9 against 0.3)."""
    random = np.random.default_rng(seed)
    task_N = random.integers(3, size=rows)
    x_ND = (np.eye(3)[task_N] * 4 + random.normal(size=(rows, 3)) * 0.3).astype(np.float32)
    chance_NE = np.where(np.eye(3)[task_N] > 0, 0.9, 0.3)
    return x_ND, (random.uniform(size=(rows, 3)) < chance_NE).astype(float), [f"task {t}" for t in task_N]


@pytest.fixture
def linear() -> Callable[..., tuple[Floats, Floats, Floats]]:
    return _linear


@pytest.fixture
def sparse() -> Callable[[Floats], Sparse]:
    return _sparse


@pytest.fixture
def clusters() -> Callable[..., tuple[Floats, Floats, list[str]]]:
    return _clusters
