"""Every registered floor puts strangers below utterances like those of the experts."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.cards.floors import Evidence
from turnout.state import pack, unpack

NAMES = registry.names("floor")


def made(seed: int) -> tuple[Evidence, np.ndarray]:
    rng = np.random.default_rng(seed)
    expert_N = np.repeat(np.arange(3), 20)
    rows = np.eye(6)[expert_N] + 0.1 * rng.normal(size=(60, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Evidence(8.0 * rows[:, :3], {"embedding": rows.astype(np.float32)}), expert_N


@pytest.mark.parametrize("name", NAMES)
def test_strangers_lie_below(name: str) -> None:
    known, expert_N = made(0)
    floor = registry.create("floor", name).fit(known.texts, expert_N)
    rng = np.random.default_rng(9)
    strange = np.eye(6)[3:].repeat(10, axis=0) + 0.1 * rng.normal(size=(30, 6))
    strange /= np.linalg.norm(strange, axis=1, keepdims=True)
    low = floor.score(Evidence(8.0 * strange[:, :3], {"embedding": strange.astype(np.float32)}))
    high = floor.score(made(1)[0])
    assert low.shape == (30,)
    assert (high[:, None] > low).mean() > 0.98
    arrays: dict = {}
    document = pack(floor, arrays)
    np.testing.assert_array_equal(unpack(document, arrays).score(known), floor.score(known))
