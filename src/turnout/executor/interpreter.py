"""Runs a plan of one expert and its fallbacks.

The rule of retries (RFC 9110 §9.2.2 leaves it to the one who knows that a repeat is safe): another expert is asked
only while the failed one has produced no byte of an answer. From the first byte on, a failure is the caller's to show.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from turnout.errors import ExpertError, ExpertTimeout
from turnout.types import Arm, Call, CallRecord, Expert, Plan, Reply

T = TypeVar("T")
CallFor: TypeAlias = Callable[[Arm], Call]
Clock: TypeAlias = Callable[[], float]

LATE = "had not finished at the deadline"

# An expert's own credentials, address or load are at fault, not the request: another expert may well answer it.
RETRYABLE = frozenset({401, 403, 404, 408, 425, 429})


async def run(
    plan: Plan,
    call_for: CallFor,
    experts: Mapping[str, Expert],
    *,
    deadline: float,
    clock: Clock,
    records: list[CallRecord],
) -> Reply:
    """The first answer among `plan.expert` and its fallbacks, once its first byte is here; one record per attempt.

    `deadline` is a time of `clock`, in seconds; an attempt that still has fallbacks waits for its first byte only its
    equal share of the time left. `call_for` makes the call for an arm. The reply's body must be read to its end or
    closed with `aclose`; it raises ExpertError where it breaks off. A status of the last attempt is returned as it is.

    Raises: the last attempt's ExpertError. Cancelling the caller cancels the call.
    Limits: plans are one expert with fallbacks; there are no hedged or parallel calls.
    """
    names = (plan.expert, *plan.fallbacks)
    for left, name in zip(range(len(names) - 1, -1, -1), names, strict=True):
        expert = experts[name]
        record = CallRecord(name)
        records.append(record)
        attempt = _Attempt(record, deadline, clock)
        try:
            reply = await attempt.start(expert, call_for(expert.arm), share=left + 1)
        except ExpertError:
            if not left or clock() >= deadline:
                raise
            continue
        if not left or not may_retry(reply.status):
            return reply
        record.error = f"ExpertError: HTTP {reply.status}"
        await reply.aclose()
    raise ValueError("a plan names at least one expert")


def may_retry(status: int) -> bool:
    """Whether another expert may be asked after this status.

    >>> may_retry(429), may_retry(503), may_retry(400)
    (True, True, False)
    """
    return status in RETRYABLE or status >= 500


class _Attempt:
    """One call: its record, its limits, and the answer's body, which starts with the byte that was waited for.

    One timer per phase, until the first byte and until the end, instead of an `asyncio.timeout` per chunk, which costs
    as much as passing the chunk on. When it fires it cancels the task that waits, and the wait becomes ExpertTimeout.
    """

    __slots__ = ("_clock", "_deadline", "_expired", "_first", "_record", "_reply", "_started", "_timer", "_waiting")

    def __init__(self, record: CallRecord, deadline: float, clock: Clock) -> None:
        self._record, self._deadline, self._clock = record, deadline, clock
        self._started = clock()
        self._first: bytes | None = None
        self._reply: Reply | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._expired = False

    async def start(self, expert: Expert, call: Call, *, share: int) -> Reply:
        """Headers and first byte, within 1/`share` of the time left. Raises ExpertError."""
        seconds = max(0.0, self._deadline - self._started) / share
        self._limit(seconds)
        try:
            reply = await self._wait(self._open(expert, call), f"sent nothing within {seconds:.3g} s")
        except BaseException:
            self._limit(None)
            raise
        if share > 1:
            self._limit(max(0.0, self._deadline - self._clock()))
        return reply

    async def _open(self, expert: Expert, call: Call) -> Reply:
        reply = self._reply = await expert.call(call)
        self._record.status = reply.status
        opened = False
        try:
            if not may_retry(reply.status):
                self._first = await _first_bytes(reply.body)
                if not self._first and reply.status == 200:
                    raise ExpertError(f"expert {expert.arm.id!r} sent an empty answer", expert=expert.arm.id)
            self._record.first_byte_s = self._clock() - self._started
            opened = True
        finally:
            if not opened:
                await reply.aclose()
        return Reply(reply.status, reply.headers, self, reply.settle, self.aclose)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, None
            return first
        assert self._reply is not None
        if self._expired:  # while the caller was busy with what it had
            raise self._late(LATE)
        try:
            return await self._wait(anext(self._reply.body), LATE)
        except StopAsyncIteration:
            self._ended()
            raise

    async def aclose(self) -> None:
        """Give the call up, or confirm its end."""
        self._ended()
        if self._reply is not None:
            await self._reply.aclose()

    async def _wait(self, step: Awaitable[T], late: str) -> T:
        """The step's result; ExpertTimeout where the timer fires first. A failure is noted in the record."""
        task = self._waiting = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        try:
            return await step
        except asyncio.CancelledError as error:
            if not self._expired or task.uncancel() > cancelling:
                raise  # the caller's own cancellation
            raise self._late(late) from error
        except ExpertError as error:
            self._note(error)
            raise
        finally:
            self._waiting = None

    def _late(self, what: str) -> ExpertTimeout:
        error = ExpertTimeout(f"expert {self._record.expert!r} {what}", expert=self._record.expert)
        self._note(error)
        return error

    def _limit(self, seconds: float | None) -> None:
        """Set the timer anew, or stop it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _ended(self) -> None:
        self._limit(None)
        if self._record.total_s is None:
            self._record.total_s = self._clock() - self._started

    def _note(self, error: ExpertError) -> None:
        self._ended()
        self._record.error = f"{type(error).__name__}: {error}"


async def _first_bytes(body: AsyncIterator[bytes]) -> bytes:
    async for chunk in body:
        if chunk:
            return chunk
    return b""
