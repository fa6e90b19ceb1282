"""What everything in one run shares: how far it is, the budget, and calls that are paid for.

A call is reserved for before, charged after, and tried again where that may help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from turnout.collect.answers import Folder
from turnout.collect.ask import Refused
from turnout.collect.budget import Budget
from turnout.errors import ExpertError, ExpertUnreachable

PAUSES_S = (1.0, 4.0)  # before the second and the third try
AGAIN = (408, 425, 429)  # statuses, beside 5xx, after which another try may help
GIVE_UP_AFTER = 5  # failures in a row, after which an expert is asked nothing more in this run


@dataclass(slots=True)
class Progress:
    """How far a collection is; `spent` in US dollars counts earlier runs in the folder too, and judging.

    `judging` is what this run spent on judging, `judge_failed` the last failure of a judge.
    """

    total: int
    done: int
    failed: int = 0
    spent: float = 0.0
    asked: int = 0
    capped: bool = False
    given_up: list[str] = field(default_factory=list)
    judged: int = 0
    unjudged: int = 0
    judging: float = 0.0
    judge_failed: str | None = None


@dataclass(slots=True)
class Session:
    """What everything in one run shares."""

    folder: Folder
    budget: Budget
    progress: Progress
    watch: Callable[[Progress], None]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


class Priced(Protocol):
    """Anything with a cost, in US dollars."""

    @property
    def cost(self) -> float: ...


T = TypeVar("T", bound=Priced)


async def attempt(
    call: Awaitable[T], failed: Callable[[ExpertError, float], T], budget: Budget, most: float
) -> tuple[T, bool]:
    """What the call gives, or what `failed` makes of its error and charge; and whether another try may help.

    A call that was refused or never got through costs nothing; one that broke off costs `most`.
    """
    charged, again = most, False
    try:
        found = await call
        charged = found.cost
    except ExpertError as error:
        charged = 0.0 if isinstance(error, (Refused, ExpertUnreachable)) else most
        again = error.status in AGAIN or error.status >= 500
        found = failed(error, charged)
    finally:
        await budget.commit(most, charged)
    return found, again


async def at_once(worker: Callable[[], Coroutine[None, None, None]], count: int) -> None:
    """So many of a worker at a time. The first error ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def tries(
    once: Callable[[], Awaitable[tuple[T, bool]]],
    budget: Budget,
    most: float,
    sleep: Callable[[float], Awaitable[None]],
) -> T | None:
    """The last of up to three tries, each with `most` reserved; None where the budget has no room."""
    for pause in (*PAUSES_S, None):
        if not await budget.reserve(most):
            return None
        found, again = await once()
        if pause is None or not again:
            break
        await sleep(pause)
    return found
