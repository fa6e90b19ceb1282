"""The HTTP expert against a real server that answers well, and that misbehaves in every way."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import ConfigError, ExpertError, ExpertTimeout, ExpertUnreachable
from turnout.experts.http import HttpClient, HttpExpert
from turnout.testing.experts import Script, ScriptedServer, completion, events, unused_url
from turnout.types import Arm, Call, Reply, Usage

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAMED: dict[str, Any] = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
KEY = "sk-very-secret"


def call(document: dict[str, Any] = ASKED, **more: Any) -> Call:
    return Call(json.dumps(document).encode(), stream=bool(document.get("stream")), **more)


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_s=2.0, stall_s=0.3)
    yield made
    await made.aclose()


def expert(client: HttpClient, base_url: str) -> HttpExpert:
    return HttpExpert(Arm("a"), base_url, key=KEY, client=client)


async def read(reply: Reply) -> bytes:
    return b"".join([chunk async for chunk in reply.body])


async def ask(client: HttpClient, script: Script, document: dict[str, Any] = ASKED, **more: Any) -> tuple[Reply, bytes]:
    async with ScriptedServer(script) as server:
        reply = await expert(client, server.base_url).call(call(document, **more))
        try:
            return reply, await read(reply)
        finally:
            await reply.aclose()


async def test_whole_answer_passes_untouched(client: HttpClient) -> None:
    script = Script("Grüße", usage=Usage(7, 3, 2))
    reply, body = await ask(client, script)
    assert body == completion(script, ASKED)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.settle() == Usage(7, 3, 2)


async def test_stream_passes_untouched(client: HttpClient) -> None:
    script = Script("a longer answer", chunks=5, usage=Usage(7, 3))
    reply, body = await ask(client, script, STREAMED)
    assert body == b"".join(events(script, STREAMED))
    assert reply.settle() == Usage(7, 3)


async def test_stream_arrives_chunk_by_chunk(client: HttpClient) -> None:
    async with ScriptedServer(Script("abc", chunk_s=0.05)) as server:
        reply = await expert(client, server.base_url).call(call(STREAMED))
        chunks = [chunk async for chunk in reply.body]
    assert len(chunks) >= 4


async def test_usage_is_found_behind_a_long_stream(client: HttpClient) -> None:
    script = Script("word " * 20_000, chunks=2_000, usage=Usage(1, 20_000))
    reply, body = await ask(client, script, STREAMED)
    assert len(body) > 200_000
    assert reply.settle() == Usage(1, 20_000)


async def test_no_usage_is_an_empty_usage(client: HttpClient) -> None:
    for document in (ASKED, STREAMED):
        reply, _ = await ask(client, Script(usage=None), document)
        assert reply.settle() == Usage()


async def test_what_is_sent(client: HttpClient) -> None:
    body = b'{ "model" : "m",\n"messages":[] , "x":1.0 }'
    async with ScriptedServer(Script()) as server:
        reply = await expert(client, server.base_url).call(
            Call(body, headers={"X-Session": "s", "Authorization": "no"})
        )
        await read(reply)
        (received,) = server.requests
    assert received.body == body
    assert received.path == "/v1/chat/completions"
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["x-session"] == "s"
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["content-type"] == "application/json"


async def test_large_body(client: HttpClient) -> None:
    body = json.dumps({**ASKED, "pad": "x" * (3 << 20)}).encode()
    async with ScriptedServer(Script()) as server:
        await read(await expert(client, server.base_url).call(Call(body)))
        assert server.requests[0].body == body


async def test_connections_are_reused(client: HttpClient) -> None:
    async with ScriptedServer(Script()) as server:
        one = expert(client, server.base_url)
        for _ in range(3):
            await read(await one.call(call()))
        assert len(server.requests) == 3
        connector = client.session().connector
        assert connector is not None
        assert sum(map(len, connector._conns.values())) == 1


async def test_streams_keep_connections_once_the_server_has_shown_that_it_does(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.experts.http.WATCHED_S", 0.1)
    async with ScriptedServer(Script()) as server:
        one, other = expert(client, server.base_url), expert(client, server.base_url)
        for asked in (one, other, one):  # the first is watched; until then the others' connections are closed
            await read(await asked.call(call(STREAMED)))
        await asyncio.sleep(0.3)
        for asked in (one, other):
            await read(await asked.call(call(STREAMED)))
        assert [r.headers.get("connection") for r in server.requests] == [None, "close", "close", None, None]


async def test_streams_keep_no_connection_where_the_server_closes_it_without_a_word(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.experts.http.WATCHED_S", 0.1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        event = b"data: [DONE]\n\n"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event))
        await writer.drain()
        writer.close()

    heads: list[bytes] = []
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        one = expert(client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        for _ in range(2):
            await read(await one.call(call(STREAMED)))
            await asyncio.sleep(0.3)
        await read(await one.call(call(STREAMED)))
    assert [b"Connection: close" in head for head in heads] == [False, True, True]


async def test_a_stream_that_fails_teaches_nothing(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout.experts.http.WATCHED_S", 0.1)
    scripts = Script(refuse=True), Script(cut_after=2), Script(raw=b"data: {}\n\n"), Script(chunks=9, chunk_s=0.05)
    async with ScriptedServer(*scripts, Script()) as server:
        one = expert(client, server.base_url)
        with pytest.raises(ExpertError, match="closed the connection"):
            await one.call(call(STREAMED))
        for failure in ("broke off", "before the answer was whole"):
            reply = await one.call(call(STREAMED))
            with pytest.raises(ExpertError, match=failure):
                await read(reply)
        left = await one.call(call(STREAMED))
        await anext(left.body)
        await left.aclose()
        await read(await one.call(call(STREAMED)))
        await asyncio.sleep(0.3)
        await read(await one.call(call(STREAMED)))
        assert [r.headers.get("connection") for r in server.requests] == [None] * 6


async def test_nothing_is_sent_twice(client: HttpClient) -> None:
    async with ScriptedServer(Script(), Script(refuse=True), Script()) as server:
        one = expert(client, server.base_url)
        await read(await one.call(call()))
        with pytest.raises(ExpertError, match="closed the connection"):  # which was a kept one
            await one.call(call())
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("document", [ASKED, STREAMED], ids=["whole", "stream"])
async def test_error_status_passes_through(client: HttpClient, status: int, document: dict[str, Any]) -> None:
    script = Script("no", status=status, headers={"Retry-After": "7"})
    reply, body = await ask(client, script, document)
    assert reply.status == status
    assert reply.headers["retry-after"] == "7"
    assert json.loads(body)["error"]["message"] == "no"
    assert reply.settle() == Usage()


async def test_error_status_without_json_passes_through(client: HttpClient) -> None:
    reply, body = await ask(client, Script(status=502, raw=b"<html>bad gateway</html>"))
    assert (reply.status, body) == (502, b"<html>bad gateway</html>")


async def test_hop_by_hop_headers_stay(client: HttpClient) -> None:
    reply, _ = await ask(client, Script(headers={"Set-Cookie": "a=b", "Keep-Alive": "1", "X-Request-Id": "r"}))
    assert "set-cookie" not in reply.headers
    assert "keep-alive" not in reply.headers
    assert reply.headers["x-request-id"] == "r"


async def test_refused_connection(client: HttpClient) -> None:
    with pytest.raises(ExpertUnreachable, match="connection refused"):
        await expert(client, unused_url()).call(call())


async def test_unknown_host(client: HttpClient) -> None:
    with pytest.raises(ExpertUnreachable, match="host name was not found"):
        await expert(client, "http://no-such-host.invalid/v1").call(call())


async def say(line: bytes) -> asyncio.Server:
    """A server that answers anything with one line and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(line)
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def test_tls_against_a_plain_server(client: HttpClient) -> None:
    async with await say(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ExpertUnreachable, match="TLS"):
            await expert(client, f"https://127.0.0.1:{port}/v1").call(call())


async def test_an_untrusted_certificate(client: HttpClient, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    subprocess.run(
        [openssl, *made, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ExpertUnreachable, match="TLS: CERTIFICATE_VERIFY_FAILED") as raised:
            await expert(client, f"https://127.0.0.1:{port}/v1").call(call())
    assert "127.0.0.1" not in str(raised.value)


async def test_connection_limit() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        left.set()

    client, left = HttpClient(connect_s=0.2), asyncio.Event()
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(ExpertUnreachable, match=r"no connection in 0\.2 s"):
            await expert(client, f"https://127.0.0.1:{port}/v1").call(call())
        await client.aclose()
        await left.wait()


async def test_deadline_before_headers(client: HttpClient) -> None:
    with pytest.raises(ExpertTimeout, match=r"within 0\.2 s") as raised:
        await ask(client, Script(delay_s=5), deadline_s=0.2)
    assert raised.value.status == 504


async def test_deadline_inside_the_body(client: HttpClient) -> None:
    client.stall_s = 30.0
    with pytest.raises(ExpertTimeout, match="deadline"):
        await ask(client, Script("abcdef", chunks=6, chunk_s=0.1), STREAMED, deadline_s=0.35)


@pytest.mark.parametrize("document", [ASKED, STREAMED], ids=["whole", "stream"])
async def test_stall(client: HttpClient, document: dict[str, Any]) -> None:
    with pytest.raises(ExpertTimeout, match=r"sent nothing for 0\.3 s"):
        await ask(client, Script(stall_after=1), document)


async def test_slow_but_steady_is_no_stall(client: HttpClient) -> None:
    _, body = await ask(client, Script("abcdef", chunks=6, chunk_s=0.12), STREAMED)
    assert body.endswith(b"[DONE]\n\n")


async def test_a_slow_reader_is_no_stall(client: HttpClient) -> None:
    async with ScriptedServer(Script("abcd", chunks=4, chunk_s=0.05)) as server:
        reply = await expert(client, server.base_url).call(call(STREAMED))
        assert await anext(reply.body)
        await asyncio.sleep(3 * client.stall_s)
        assert (await read(reply)).endswith(b"[DONE]\n\n")


async def test_silence_before_the_first_chunk_is_no_stall(client: HttpClient) -> None:
    _, body = await ask(client, Script("a", chunks=1, delay_s=0.4, chunk_s=0.4, raw=completion(Script("a"), ASKED)))
    assert body == completion(Script("a"), ASKED)


@pytest.mark.parametrize("document", [ASKED, STREAMED], ids=["whole", "stream"])
async def test_cut(client: HttpClient, document: dict[str, Any]) -> None:
    with pytest.raises(ExpertError, match="broke off"):
        await ask(client, Script(cut_after=2), document)


async def test_cut_stream_gives_what_came_first(client: HttpClient) -> None:
    got: list[bytes] = []

    async def collect(reply: Reply) -> None:
        async for chunk in reply.body:
            got.append(chunk)  # noqa: PERF401  # what came before the break is what is looked at

    async with ScriptedServer(Script("abc", cut_after=2)) as server:
        reply = await expert(client, server.base_url).call(call(STREAMED))
        with pytest.raises(ExpertError, match="broke off"):
            await collect(reply)
    assert b"".join(got) == b"".join(events(Script("abc"), STREAMED)[:2])


async def test_stream_that_ends_early_without_a_cut(client: HttpClient) -> None:
    with pytest.raises(ExpertError, match="before the answer was whole"):
        await ask(client, Script(raw=b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'), STREAMED)


async def test_refusal_after_connecting(client: HttpClient) -> None:
    with pytest.raises(ExpertError, match="closed the connection before"):
        await ask(client, Script(refuse=True))


@pytest.mark.parametrize("raw", [b"<html>hello</html>", b"", b"[1, 2]", b'{"choices": [', b"\xff\xfe"])
async def test_garbage(client: HttpClient, raw: bytes) -> None:
    with pytest.raises(ExpertError, match="without a JSON object"):
        await ask(client, Script(raw=raw))


@pytest.mark.parametrize("raw", [b"<html>hello</html>", b'{"choices":[]}'])
async def test_garbage_for_a_stream(client: HttpClient, raw: bytes) -> None:
    with pytest.raises(ExpertError, match="something else than events"):
        await ask(client, Script(raw=raw), STREAMED)


async def test_malformed_http(client: HttpClient) -> None:
    async with await say(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ExpertError, match="malformed HTTP"):
            await expert(client, f"http://127.0.0.1:{port}/v1").call(call())


async def test_redirects_are_not_followed(client: HttpClient) -> None:
    with pytest.raises(ExpertError, match="redirect 307"):
        await ask(client, Script(status=307, raw=b"", headers={"Location": "http://127.0.0.1:1/"}))


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_cancelling_the_call_reaches_upstream(client: HttpClient) -> None:
    async with ScriptedServer(Script(delay_s=30)) as server:
        task = asyncio.create_task(expert(client, server.base_url).call(call()))
        await until(lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: server.dropped == 1)


async def test_closing_the_reply_reaches_upstream(client: HttpClient) -> None:
    async with ScriptedServer(Script("abc", chunk_s=0.1, stall_after=3)) as server:
        reply = await expert(client, server.base_url).call(call(STREAMED))
        assert await anext(reply.body)
        await reply.aclose()
        await until(lambda: server.dropped == 1)
        with pytest.raises(StopAsyncIteration):
            await anext(reply.body)


async def test_errors_tell_neither_address_nor_key(client: HttpClient) -> None:
    for base_url in (unused_url(), "http://no-such-host.invalid/v1"):
        one = expert(client, base_url)
        with pytest.raises(ExpertError) as raised:
            await one.call(call())
        for secret in (KEY, "127.0.0.1", "no-such-host"):
            assert secret not in str(raised.value) + repr(one)


@pytest.mark.parametrize("key", ["a\nb", "a b", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        HttpExpert(Arm("a"), "http://h/v1", key=key)
    assert key not in str(raised.value)


async def test_proxies_come_from_the_environment(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer(Script("by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        body = await read(await expert(client, "http://upstream.invalid/v1").call(call()))
        assert proxy.requests[0].path == "http://upstream.invalid/v1/chat/completions"
        monkeypatch.setenv("no_proxy", "upstream.invalid")
        with pytest.raises(ExpertUnreachable):
            await expert(client, "http://upstream.invalid/v1").call(call())
    assert b"by proxy" in body
