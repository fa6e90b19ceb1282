"""Experts that do what a script says: in memory (`ScriptedExpert`), or as a real HTTP server (`ScriptedServer`).

Both speak OpenAI's chat completions, streamed and not, and can delay, stall, break off, refuse or answer garbage. For
tests of anything that calls experts, here and in projects that build on Turnout. Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from turnout.errors import ExpertError, ExpertTimeout, ExpertUnreachable
from turnout.types import Arm, Call, Reply, Usage

USAGE = Usage(10, 5)
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests", 500: "Internal Server Error"}
UNREADABLE = (
    b'{"error": {"message": "the body is not JSON", "type": "invalid_request_error", "param": null, "code": null}}'
)


@dataclass(frozen=True, slots=True)
class Script:
    """What one call gets.

    `text` is the answer (None repeats the last user message), sent in `chunks` pieces when streamed. `status` and
    `headers` are the reply's; from 400 on the text is the error's message. `raw` replaces the whole body.
    `delay_s` passes before the headers, `chunk_s` before each chunk. After `cut_after` chunks the connection breaks;
    after `stall_after` chunks nothing more comes (a whole answer has two: its halves). `refuse` breaks the connection
    before any answer. `garbage` answers 200 with text that is no JSON. `usage` is reported as a server does: always in
    a whole answer, in a stream when the request asks for it; None reports none. All times in seconds.
    """

    text: str | None = "ok"
    chunks: int = 3
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay_s: float = 0.0
    chunk_s: float = 0.0
    cut_after: int | None = None
    stall_after: int | None = None
    refuse: bool = False
    garbage: bool = False
    usage: Usage | None = USAGE


ECHO = Script(text=None)


@dataclass(frozen=True, slots=True)
class Received:
    """A request as a scripted server saw it; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body's JSON object."""
        document: dict[str, Any] = json.loads(self.body)
        return document


def completion(script: Script, request: Mapping[str, Any]) -> bytes:
    """The body of a whole answer.

    >>> completion(Script("hi", usage=None), {"model": "m"})[-44:]
    b'"content": "hi"}, "finish_reason": "stop"}]}'
    """
    if script.raw is not None:
        return script.raw
    if script.garbage:
        return b"<html>not what you asked for</html>"
    if script.status >= 400:
        return json.dumps({"error": {"message": script.text, "type": "scripted", "code": script.status}}).encode()
    choice = {"index": 0, "message": {"role": "assistant", "content": _text(script, request)}, "finish_reason": "stop"}
    document = {**_common(request, "chat.completion"), "choices": [choice]}
    if script.usage is not None:
        document["usage"] = _usage(script.usage)
    return json.dumps(document).encode()


def events(script: Script, request: Mapping[str, Any]) -> list[bytes]:
    """The chunks of a streamed answer, one event each, `[DONE]` last.

    >>> len(events(Script("abc", chunks=3), {"model": "m", "stream_options": {"include_usage": True}}))
    6
    """
    if script.raw is not None or script.garbage or script.status >= 400:
        return [completion(script, request)]
    common, text = _common(request, "chat.completion.chunk"), _text(script, request)
    size = max(1, -(-len(text) // max(1, script.chunks)))
    deltas = [{"content": text[i : i + size]} for i in range(0, len(text), size)]
    documents = [{**common, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    documents.append({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if script.usage is not None and (request.get("stream_options") or {}).get("include_usage"):
        documents.append({**common, "choices": [], "usage": _usage(script.usage)})
    return [b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents] + [b"data: [DONE]\n\n"]


class ScriptedExpert:
    """An expert in memory. Each call takes the next script; the last one repeats. `calls` holds what was asked.

    >>> expert = ScriptedExpert(Arm("a"), Script("four"))
    >>> reply = asyncio.run(expert.call(Call(b'{"model": "m"}')))
    >>> reply.status, reply.settle()
    (200, Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=None))
    """

    def __init__(self, arm: Arm | str, *scripts: Script) -> None:
        self.arm = Arm(arm) if isinstance(arm, str) else arm
        self.scripts = scripts or (Script(),)
        self.calls: list[Call] = []
        self.closed = 0

    async def call(self, call: Call) -> Reply:
        """Answer by the next script. Raises ExpertUnreachable for `refuse`, ExpertTimeout past `deadline_s`."""
        script = self.scripts[min(len(self.calls), len(self.scripts) - 1)]
        self.calls.append(call)
        request = json.loads(call.body or b"{}")
        if script.refuse:
            raise ExpertUnreachable(f"expert {self.arm.id!r} is unreachable: scripted", expert=self.arm.id)
        try:
            async with asyncio.timeout(call.deadline_s):
                await asyncio.sleep(script.delay_s)
        except TimeoutError as error:
            message = f"expert {self.arm.id!r} did not answer within {call.deadline_s:g} s"
            raise ExpertTimeout(message, expert=self.arm.id) from error
        is_stream = call.stream and not script.garbage
        chunks = events(script, request) if is_stream else [completion(script, request)]
        kind = "text/event-stream" if call.stream and script.status < 400 else "application/json"
        headers = {"content-type": "text/html" if script.garbage else kind, **script.headers}
        usage = script.usage if script.usage is not None and script.status < 400 else Usage()
        return Reply(script.status, headers, self._body(script, chunks), lambda: usage, self._close_reply)

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _close_reply(self) -> None:
        self.closed += 1

    async def _body(self, script: Script, chunks: list[bytes]) -> AsyncIterator[bytes]:
        for index, chunk in enumerate(chunks):
            if script.cut_after is not None and index >= script.cut_after:
                raise ExpertError(f"expert {self.arm.id!r} broke off its answer", expert=self.arm.id)
            if script.stall_after is not None and index >= script.stall_after:
                await asyncio.Event().wait()
            await asyncio.sleep(script.chunk_s)
            yield chunk


class ScriptedServer:
    """A real HTTP/1.1 server on a free port of 127.0.0.1. Each request takes the next script; the last one repeats.

    Use it with `async with` inside a running loop, or with `with`, which runs it in a thread. `base_url` ends in `/v1`;
    `requests` holds what came; `dropped` counts the clients that left before their answer was whole.

    Limits: no TLS, no chunked requests, no pipelining.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts or (Script(),)
        self.requests: list[Received] = []
        self.dropped = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stop is not None
        assert self._thread is not None
        self._stop()
        self._thread.join()

    async def _serve(self, started: threading.Event) -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(stopped.set)

        self._stop = stop
        async with self:
            started.set()
            await stopped.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while received := await _receive(reader):
                script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
                self.requests.append(received)
                if not await self._answer(script, received, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the server is closing
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(
        self, script: Script, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Send the scripted reply; True where the connection can take another request."""
        left = asyncio.ensure_future(_leaving(reader))
        answer = asyncio.ensure_future(_send(script, received, writer))
        try:
            await asyncio.wait({left, answer}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self.dropped += 1
                return False
            return answer.result() and not left.done()
        finally:
            for task in (left, answer):
                task.cancel()
            await asyncio.gather(left, answer, return_exceptions=True)


async def _leaving(reader: asyncio.StreamReader) -> None:
    """Returns once the client has closed its side; looks without taking bytes of a next request."""
    while not reader.at_eof():
        await asyncio.sleep(0.01)


def unused_url() -> str:
    """A base URL where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


async def _receive(reader: asyncio.StreamReader) -> Received | None:
    """The next request on a connection, or None where the client closed it."""
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


async def _send(script: Script, received: Received, writer: asyncio.StreamWriter) -> bool:
    """Write the reply; False where the connection must close. Streams are sent chunked, whole answers by length."""
    if script.refuse:
        return False
    try:
        request = json.loads(received.body) if received.body else {}
    except ValueError:  # an expert refuses what it cannot read, and lives on
        script, request = replace(script, status=400, raw=UNREADABLE), {}
    await asyncio.sleep(script.delay_s)
    is_stream = bool(request.get("stream")) and script.status < 400 and not script.garbage
    chunks = events(script, request) if is_stream else [completion(script, request)]
    kind = "text/event-stream" if is_stream else "text/html" if script.garbage else "application/json"
    length = "transfer-encoding: chunked" if is_stream else f"content-length: {sum(map(len, chunks))}"
    head = [f"HTTP/1.1 {script.status} {REASONS.get(script.status, 'Scripted')}", f"content-type: {kind}", length]
    is_last = received.headers.get("connection", "").lower() == "close"
    head += ["connection: close"] if is_last else []
    head += [f"{name}: {value}" for name, value in script.headers.items()]
    writer.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n")
    breaks, stalls = script.cut_after, script.stall_after
    if not is_stream and (breaks, stalls) != (None, None):
        half = len(chunks[0]) // 2
        chunks = [chunks[0][:half], chunks[0][half:]]
        breaks, stalls = (at and 1 for at in (breaks, stalls))
    for index, chunk in enumerate(chunks):
        if breaks is not None and index >= breaks:
            await writer.drain()
            return False
        if stalls is not None and index >= stalls:
            await writer.drain()
            await asyncio.Event().wait()
        if script.chunk_s:
            await writer.drain()
            await asyncio.sleep(script.chunk_s)
        writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" if is_stream else chunk)
    writer.write(b"0\r\n\r\n" if is_stream else b"")
    await writer.drain()
    return not is_last


def _common(request: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1, "model": request.get("model", "scripted")}


def _text(script: Script, request: Mapping[str, Any]) -> str:
    if script.text is not None:
        return script.text
    said = [m["content"] for m in request.get("messages", ()) if m.get("role") == "user"]
    return str(said[-1]) if said else ""


def _usage(usage: Usage) -> dict[str, Any]:
    prompt, answer = usage.prompt_tokens or 0, usage.completion_tokens or 0
    document: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
    if usage.cached_tokens is not None:
        document["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return document
