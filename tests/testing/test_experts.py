"""The scripted experts keep their scripts: in memory and over HTTP, in the loop and in a thread."""

from __future__ import annotations

import asyncio
import json
import urllib.request

import openai
import pytest

from turnout.errors import ExpertError, ExpertTimeout, ExpertUnreachable
from turnout.testing.experts import ECHO, Script, ScriptedExpert, ScriptedServer, unused_url
from turnout.types import Call, Expert, Reply, Usage

STREAMED = Call(b'{"model":"m","stream":true,"messages":[{"role":"user","content":"say this"}]}', stream=True)
ASKED = Call(b'{"model":"m","messages":[{"role":"user","content":"say this"}]}')


async def read(reply: Reply) -> bytes:
    return b"".join([chunk async for chunk in reply.body])


async def test_scripts_come_in_order_and_the_last_repeats() -> None:
    expert = ScriptedExpert("a", Script("one"), ECHO)
    assert isinstance(expert, Expert)
    said = [json.loads(await read(await expert.call(ASKED)))["choices"][0]["message"]["content"] for _ in range(3)]
    assert said == ["one", "say this", "say this"]
    assert expert.calls == [ASKED] * 3


async def test_failures_in_memory() -> None:
    with pytest.raises(ExpertUnreachable):
        await ScriptedExpert("a", Script(refuse=True)).call(ASKED)
    with pytest.raises(ExpertTimeout):
        await ScriptedExpert("a", Script(delay_s=5)).call(Call(ASKED.body, deadline_s=0.01))
    reply = await ScriptedExpert("a", Script(cut_after=1)).call(STREAMED)
    assert await anext(reply.body)
    with pytest.raises(ExpertError, match="broke off"):
        await anext(reply.body)
    stalled = await ScriptedExpert("a", Script(stall_after=0)).call(STREAMED)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stalled.body), 0.05)


async def test_usage_and_status_in_memory() -> None:
    expert = ScriptedExpert("a", Script(usage=Usage(3, 4, 1)), Script("no", status=429, headers={"retry-after": "2"}))
    assert (await expert.call(ASKED)).settle() == Usage(3, 4, 1)
    refused = await expert.call(ASKED)
    assert (refused.status, refused.headers["retry-after"], refused.settle()) == (429, "2", Usage())
    assert json.loads(await read(refused))["error"]["message"] == "no"
    await refused.aclose()
    assert expert.closed == 1


def test_the_official_client_reads_the_server() -> None:
    with (
        ScriptedServer(Script("whole"), Script("piece by piece")) as server,
        openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client,
    ):
        whole = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        assert whole.choices[0].message.content == "whole"
        assert whole.usage is not None
        assert whole.usage.total_tokens == 15
        stream = client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "piece by piece"
        assert chunks[-1].usage is not None
        assert [r.json()["model"] for r in server.requests] == ["m", "m"]
        assert server.requests[0].headers["authorization"] == "Bearer k"


async def test_a_connection_serves_many_requests() -> None:
    async with ScriptedServer(Script()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(length))["object"] == "chat.completion"
        writer.close()
        await writer.wait_closed()
    assert len(server.requests) == 3
    assert server.dropped == 0


def test_nothing_listens_at_an_unused_url() -> None:
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(unused_url(), timeout=5)
