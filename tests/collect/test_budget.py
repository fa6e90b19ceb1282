"""The cap holds under any interleaving of calls."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.collect.budget import Budget
from turnout.errors import ConfigError


@settings(max_examples=30, deadline=None)
@given(
    cap=st.floats(0, 10),
    calls=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1)), max_size=30),
    workers=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_never_above_the_cap(cap: float, calls: list[tuple[float, float]], workers: int, seed: int) -> None:
    async def run() -> None:
        budget, left, chance = Budget(cap), iter(calls), random.Random(seed)

        async def worker() -> None:
            for most, share in left:
                if not await budget.reserve(most):
                    return
                assert budget.spent + budget.reserved <= cap + 1e-9
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
                await budget.commit(most, most * share)
                assert budget.spent + budget.reserved <= cap + 1e-9

        async with asyncio.timeout(20):  # a worker that waits for ever would hang
            await asyncio.gather(*(worker() for _ in range(workers)))
        assert budget.reserved == 0.0

    asyncio.run(run())


async def test_a_refund_lets_a_waiting_call_in() -> None:
    budget = Budget(1.0)
    assert await budget.reserve(0.8)
    waiting = asyncio.create_task(budget.reserve(0.8))
    await asyncio.sleep(0)
    assert not waiting.done()
    await budget.commit(0.8, 0.1)
    assert await waiting


async def test_what_can_never_fit_is_refused_and_no_cap_takes_all() -> None:
    assert not await Budget(1.0, spent=0.5).reserve(0.6)
    assert await Budget().reserve(1e9)


@pytest.mark.parametrize("cap", [-1.0, float("nan")])
def test_a_bad_cap(cap: float) -> None:
    with pytest.raises(ConfigError, match="max_usd"):
        Budget(cap)
