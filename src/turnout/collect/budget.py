"""A hard cap on spend that holds under concurrency: reserve the most a call may cost, then commit what it did cost."""

from __future__ import annotations

import asyncio

from turnout.errors import ConfigError


class Budget:
    """US dollars. `spent + reserved` never exceeds `cap`, as long as no call costs more than was reserved for it.

    >>> import asyncio
    >>> budget = Budget(cap=1.0)
    >>> asyncio.run(budget.reserve(0.75)), budget.reserved
    (True, 0.75)
    """

    def __init__(self, cap: float | None = None, spent: float = 0.0) -> None:
        if cap is not None and not cap >= 0:
            raise ConfigError(f"`max_usd` must be at least 0, got {cap}")
        self.cap, self.spent, self.reserved = cap, spent, 0.0
        self._waiting, self._open = asyncio.Condition(), 0

    async def reserve(self, most: float) -> bool:
        """Take `most` aside, waiting for calls in flight where that may make room; False where it never will."""
        async with self._waiting:
            while self.cap is not None and self.spent + self.reserved + most > self.cap:
                if not self._open:
                    return False
                await self._waiting.wait()
            self.reserved += most
            self._open += 1
            return True

    async def commit(self, most: float, cost: float) -> None:
        """Replace a reservation by the actual cost (0 to refund it)."""
        async with self._waiting:
            self._open -= 1
            self.reserved = self.reserved - most if self._open else 0.0  # no dust of rounding is left behind
            self.spent += cost
            self._waiting.notify_all()
