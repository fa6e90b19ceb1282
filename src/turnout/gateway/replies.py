"""What goes back to a client: OpenAI's error shape, JSON documents, and an expert's own bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, TypeAlias

import msgspec

from turnout.errors import ExpertError, ExpertTimeout, RequestError

Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Header: TypeAlias = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
# What an upstream may say to the client beside its body. Cookies, CORS and anything that names hosts stay behind.
PASSED = frozenset({"content-type", "content-encoding", "cache-control", "retry-after", "x-request-id", "request-id"})
PASSED_PREFIXES = ("openai-", "x-ratelimit-")


class Responder:
    """One response: `start` once, then `chunk`s; `more=False` ends it. `started` and `ended` tell how far it is."""

    __slots__ = ("_extra", "_send", "ended", "started")

    def __init__(self, send: Send, extra: tuple[Header, ...] = ()) -> None:
        self._send, self._extra = send, extra
        self.started = self.ended = False

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self._extra]})

    async def chunk(self, data: bytes, *, more: bool) -> None:
        self.ended = not more  # before sending: the server reports an ended response as a client that left
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def whole(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.chunk(body, more=False)

    async def json(self, status: int, document: object, headers: Iterable[Header] = ()) -> None:
        await self.whole(status, [JSON, *headers], msgspec.json.encode(document))

    async def error(self, error: RequestError | ExpertError, headers: Iterable[Header] = ()) -> None:
        await self.json(error.status, error_document(error), [*headers, *_advice(error)])


def error_document(error: RequestError | ExpertError) -> dict[str, Any]:
    """OpenAI's error shape.

    >>> error_document(RequestError("no such model", status=404, code="model_not_found"))["error"]["code"]
    'model_not_found'
    """
    if isinstance(error, RequestError):
        type_, code, param = error.type, error.code, error.param
    else:
        type_, code, param = "server_error", "timeout" if isinstance(error, ExpertTimeout) else "upstream_error", None
    return {"error": {"message": str(error), "type": type_, "param": param, "code": code}}


def error_event(error: ExpertError) -> bytes:
    """The one form of a failure after the first byte of a stream; the stream then ends without `[DONE]`.

    It begins with an empty line, so that it stands alone even where the expert broke off inside an event.
    """
    return b"\n\ndata: " + msgspec.json.encode(error_document(error)) + b"\n\n"


def passed(headers: Mapping[str, str]) -> list[Header]:
    """An upstream's headers that a client may see.

    >>> passed({"content-type": "application/json", "set-cookie": "a=b", "server": "internal-7"})
    [(b'content-type', b'application/json')]
    """
    return [
        (name.encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in headers.items()
        if name in PASSED or name.startswith(PASSED_PREFIXES)
    ]


def is_error(body: bytes) -> bool:
    """Whether a body is OpenAI's error shape, or near enough for its clients: an object with `error` or `message`."""
    try:
        return not {"error", "message", "detail"}.isdisjoint(_object.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _advice(error: RequestError | ExpertError) -> list[Header]:
    if error.status == 401:
        return [(b"www-authenticate", b"Bearer")]
    return [(b"retry-after", b"1")] if error.status == 503 else []
