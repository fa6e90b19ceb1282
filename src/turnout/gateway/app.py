"""The ASGI application: one raw handler, no framework. `build` puts it together; `server.serve` runs it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias

import msgspec

from turnout import __version__
from turnout.config import Config
from turnout.errors import RequestError, did_you_mean
from turnout.gateway.access import Access
from turnout.gateway.body import UNKNOWN_JSON, invalid
from turnout.gateway.chat import AUTO, Chat, Decider, TraceSink, unknown_model
from turnout.gateway.metrics import CONTENT_TYPE, Metrics
from turnout.gateway.replies import Receive, Responder, Send
from turnout.types import Expert

MODEL = "/v1/models/"
SLOW = "the body is slow"
BODY_S = 60.0  # a client that takes longer to send its request is not sending one
Headers: TypeAlias = Mapping[bytes, bytes]
Handler: TypeAlias = Callable[[Headers, bytes, Receive, Responder], Awaitable[None]]

log = logging.getLogger("turnout.gateway")


class Store(TraceSink, Protocol):
    """What the gateway asks of a trace store."""

    written: int
    dropped: int

    def feedback(self, trace_id: str, score: float, label: str | None = None) -> None: ...


class Pool(Protocol):
    """The live experts, and what they share."""

    def __iter__(self) -> Iterator[Expert]: ...

    async def aclose(self) -> None: ...


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/feedback: `score` in [0, 1] for the answer that `trace` names."""

    trace: str
    score: float
    label: str | None = None


_feedback = msgspec.json.Decoder(Feedback)


def build(
    config: Config,
    pool: Pool,
    router: Decider,
    store: Store | None = None,
    *,
    versions: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    rng: random.Random | None = None,
) -> App:
    """The application over a pool and a router bound to it. Closing it closes the pool; the store stays the caller's.

    `versions` is written to every trace: Turnout's by default; add what tells which router decided.
    Raises ConfigError for a bind that other machines can reach without an access key.
    """
    metrics = Metrics(store)
    rng = rng or random.Random()
    experts = {expert.arm.id: expert for expert in pool}
    versions = versions or {"turnout": __version__}
    chat = Chat(config, experts, router, store, metrics, versions=versions, clock=clock, wall=wall, rng=rng)
    access = Access.from_config(config.gateway, environ)
    return App(pool, tuple(experts), chat, access, metrics, store=store, max_body=int(config.gateway.max_body_mb * 1e6))


class App:
    """Checks the caller, reads the body, and hands the request to its endpoint. Build it with `build`."""

    def __init__(
        self,
        pool: Pool,
        names: tuple[str, ...],
        chat: Chat,
        access: Access,
        metrics: Metrics,
        *,
        store: Store | None,
        max_body: int,
    ) -> None:
        self.access, self.metrics = access, metrics
        self._pool, self._names, self._chat, self._store = pool, (AUTO, *names), chat, store
        self._max_body = max_body
        self._disk = ThreadPoolExecutor(1, "turnout-feedback")
        self._routes: dict[str, dict[str, Handler]] = {
            "/v1/chat/completions": {"POST": chat},
            "/v1/models": _read(self._models),
            "/v1/feedback": {"POST": self._take_feedback},
            "/healthz": _read(self._health),
            "/metrics": _read(self._metrics),
        }
        for name in self._names:
            self._routes[f"{MODEL}{name}"] = _read(self._model(name))

    async def aclose(self) -> None:
        """Close the pool and stop the threads."""
        self._chat.close()
        self._disk.shutdown(wait=False)
        await self._pool.aclose()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            headers = dict(scope["headers"])
            respond = Responder(send, self.access.cors(headers))
            try:
                await self._handle(scope["method"], scope["path"], headers, receive, respond)
            except RequestError as error:
                await respond.error(error)
            except Exception:
                # The one broad handler: a defect must reach the client in the documented shape, and the log in full.
                log.exception("a defect in the gateway, while serving %s %s", scope["method"], scope["path"])
                if respond.started:
                    raise
                await respond.error(RequestError("an internal error; see the log", status=500, type="server_error"))

    async def _handle(self, method: str, path: str, headers: Headers, receive: Receive, respond: Responder) -> None:
        if refusal := self.access.stranger(headers):
            self.metrics.refused[str(refusal.status)] += 1
            raise refusal
        if method == "OPTIONS" and self.access.cors(headers):
            await respond.whole(204, [], b"")
            return
        if refusal := self.access.keyless(path, headers):
            self.metrics.refused[str(refusal.status)] += 1
            raise refusal
        methods = self._routes.get(path)
        if methods is None and path.startswith(MODEL):
            raise unknown_model(path.removeprefix(MODEL), self._names)
        if methods is None:
            near = did_you_mean(path, self._routes).rstrip(";")
            raise RequestError(f"unknown request URL: {method} {path}{near}", status=404, code="unknown_url")
        if method not in methods:
            allowed = ", ".join(methods)
            error = RequestError(f"{path} takes {allowed}, not {method}", status=405, code="method_not_allowed")
            await respond.error(error, [(b"allow", allowed.encode())])
            return
        body = await self._body(headers, receive) if method == "POST" else b""
        if body is not None:
            await methods[method](headers, body, receive, respond)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body; None where the client left before it was sent."""
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            message = f"the content type must be application/json, got {kind.decode('latin-1')!r}"
            raise RequestError(message, status=415, code="unsupported_media_type")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise self._too_large()
        task = asyncio.current_task()
        assert task is not None
        timer = asyncio.get_running_loop().call_later(BODY_S, task.cancel, SLOW)
        try:
            return await self._read(receive)
        except asyncio.CancelledError as error:
            if error.args != (SLOW,):
                raise
            task.uncancel()
            raise RequestError(f"the body was not sent within {BODY_S:g} s", status=408, code="timeout") from error
        finally:
            timer.cancel()

    async def _read(self, receive: Receive) -> bytes | None:
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_body:
                raise self._too_large()
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self) -> RequestError:
        message = f"the body is larger than {self._max_body / 1e6:g} MB (`gateway.max_body_mb`)"
        return RequestError(message, status=413, code="request_too_large")

    async def _health(self, _headers: Headers, _body: bytes, _receive: Receive, respond: Responder) -> None:
        await respond.json(200, {"status": "ok"})

    async def _metrics(self, _headers: Headers, _body: bytes, _receive: Receive, respond: Responder) -> None:
        await respond.whole(200, [(b"content-type", CONTENT_TYPE)], self.metrics.page())

    async def _models(self, _headers: Headers, _body: bytes, _receive: Receive, respond: Responder) -> None:
        await respond.json(200, {"object": "list", "data": [_described(name) for name in self._names]})

    def _model(self, name: str) -> Handler:
        async def describe(_headers: Headers, _body: bytes, _receive: Receive, respond: Responder) -> None:
            await respond.json(200, _described(name))

        return describe

    async def _take_feedback(self, _headers: Headers, body: bytes, _receive: Receive, respond: Responder) -> None:
        try:
            given = _feedback.decode(body)
        except msgspec.ValidationError as error:
            raise invalid(error) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(f"{UNKNOWN_JSON}: {error}") from error
        if self._store is None:
            raise RequestError("no traces are kept (`traces.store`)", status=409, code="no_traces")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._disk, self._store.feedback, given.trace, given.score, given.label)
        await respond.json(200, {"object": "feedback", "trace": given.trace, "score": given.score})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = (await receive())["type"]
            if event == "lifespan.shutdown":
                await self.aclose()
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return


def _read(handler: Handler) -> dict[str, Handler]:
    """The methods of what is read. Servers leave a body out of the answer to HEAD."""
    return {"GET": handler, "HEAD": handler}


def _described(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "turnout"}
