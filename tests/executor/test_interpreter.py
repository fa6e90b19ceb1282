"""Plans over scripted experts: who is asked, when again, and what is recorded."""

from __future__ import annotations

import asyncio
import time

import pytest

from turnout.errors import ExpertError, ExpertTimeout, ExpertUnreachable
from turnout.executor import run
from turnout.testing.experts import Script, ScriptedExpert
from turnout.types import Arm, Call, CallRecord, Plan, Reply


def call_for(arm: Arm) -> Call:
    return Call(f'{{"model": "{arm.id}", "stream": true}}'.encode(), stream=True)


class Bench:
    """Runs plans over experts `a`, `b`, …, one per script, and keeps what happened."""

    def __init__(self, *scripts: Script | tuple[Script, ...]) -> None:
        given = [script if isinstance(script, tuple) else (script,) for script in scripts]
        self.experts = {name: ScriptedExpert(name, *script) for name, script in zip("abc", given, strict=False)}
        self.records: list[CallRecord] = []

    async def run(self, *, seconds: float = 5.0) -> Reply:
        first, *others = self.experts
        deadline = time.monotonic() + seconds
        return await run(
            Plan(first, tuple(others)),
            call_for,
            self.experts,
            deadline=deadline,
            clock=time.monotonic,
            records=self.records,
        )

    def asked(self) -> list[int]:
        return [len(expert.calls) for expert in self.experts.values()]


async def read(reply: Reply) -> bytes:
    return b"".join([chunk async for chunk in reply.body])


async def test_the_first_expert_answers() -> None:
    bench = Bench(Script("four"), Script("five"))
    reply = await bench.run()
    body = await read(reply)
    assert b"four" in body.replace(b'"', b"") or b"fo" in body
    assert body.endswith(b"[DONE]\n\n")
    assert bench.asked() == [1, 0]
    (record,) = bench.records
    assert (record.expert, record.status, record.error) == ("a", 200, None)
    assert 0 <= record.first_byte_s <= record.total_s
    assert reply.settle().completion_tokens == 5


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(refuse=True), "ExpertUnreachable"),
        (Script(status=500), "HTTP 500"),
        (Script(status=429), "HTTP 429"),
        (Script(status=404), "HTTP 404"),
        (Script(cut_after=0), "broke off"),
        (Script(raw=b""), "empty answer"),
    ],
)
async def test_the_next_expert_answers_where_one_fails_before_its_first_byte(script: Script, error: str) -> None:
    bench = Bench(script, script, Script("good"))
    await read(await bench.run())
    assert bench.asked() == [1, 1, 1]
    assert [error in (record.error or "") for record in bench.records] == [True, True, False]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_bad_request_is_nobody_elses_to_answer(status: int) -> None:
    bench = Bench(Script(status=status), Script())
    assert (await bench.run()).status == status
    assert bench.asked() == [1, 0]


async def test_the_last_refusal_is_the_answer() -> None:
    bench = Bench(Script(status=500), Script(status=503, text="full"))
    reply = await bench.run()
    assert (reply.status, b"full" in await read(reply)) == (503, True)


async def test_the_last_error_is_raised() -> None:
    bench = Bench(Script(cut_after=0), Script(refuse=True))
    with pytest.raises(ExpertUnreachable, match="'b'"):
        await bench.run()


async def test_nothing_is_asked_twice_after_the_first_byte() -> None:
    bench = Bench(Script("one two three", chunks=3, cut_after=1), Script())
    reply = await bench.run()
    with pytest.raises(ExpertError, match="broke off"):
        await read(reply)
    assert bench.asked() == [1, 0]
    assert "broke off" in (bench.records[0].error or "")
    assert bench.records[0].total_s is not None


async def test_a_silent_expert_has_its_share_of_the_time() -> None:
    bench = Bench(Script(delay_s=60), Script(stall_after=0), Script("good"))
    started = time.monotonic()
    await read(await bench.run(seconds=0.6))
    assert time.monotonic() - started < 0.6
    assert [(record.error or "").partition(":")[0] for record in bench.records] == [
        "ExpertTimeout",
        "ExpertTimeout",
        "",
    ]


async def test_the_deadline_ends_the_plan() -> None:
    bench = Bench(Script(delay_s=60), Script(delay_s=60))
    with pytest.raises(ExpertTimeout, match="nothing within"):
        await bench.run(seconds=0.2)
    assert bench.asked() == [1, 1]


async def test_the_deadline_holds_within_a_stream() -> None:
    bench = Bench(Script("one two three", chunks=3, stall_after=1))
    reply = await bench.run(seconds=0.2)
    with pytest.raises(ExpertTimeout, match="deadline"):
        await read(reply)
    await reply.aclose()
    assert bench.experts["a"].closed == 1


async def test_a_slow_reader_meets_the_deadline_too() -> None:
    bench = Bench(Script("one two three", chunks=3))
    reply = await bench.run(seconds=0.1)
    await anext(reply.body)
    await asyncio.sleep(0.2)
    with pytest.raises(ExpertTimeout, match="deadline"):
        await anext(reply.body)
    await asyncio.sleep(0)  # nothing is left that would cancel the reader


async def test_cancelling_gives_the_call_up() -> None:
    bench = Bench(Script(stall_after=0), Script())
    task = asyncio.create_task(bench.run())
    while not bench.experts["a"].calls:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.experts["a"].closed == 1
    assert bench.asked() == [1, 0]


async def test_every_reply_is_closed() -> None:
    bench = Bench(Script(status=500), Script(cut_after=0), Script())
    reply = await bench.run()
    await read(reply)
    await reply.aclose()
    assert [expert.closed for expert in bench.experts.values()] == [1, 1, 1]
