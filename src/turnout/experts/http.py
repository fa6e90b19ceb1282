"""Experts behind an OpenAI-compatible HTTP server. This module is the only home of the HTTP client.

Bytes pass as they come: nothing is decompressed, parsed or rebuilt on their way. Usage is read aside, when asked for.
Every way in which a call can fail is mapped once, here, to the ExpertError tree; messages name the expert, never its
address or key. Statuses from 400 on are replies, not errors: their body and `retry-after` are the client's to see.
"""

from __future__ import annotations

import asyncio
import io
import os
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from turnout import __version__
from turnout.errors import ConfigError, ExpertError, ExpertTimeout, ExpertUnreachable
from turnout.experts import sse
from turnout.types import Arm, Call, Reply, Usage

TAIL_BYTES = 16 << 10  # the usage comes last in a stream; this much of its end is kept
JSON_BYTES = 32 << 20  # a larger answer is refused, so that no upstream can fill the memory
NEVER = float("inf")
WATCHED_S = 1.0  # a server that still has a connection this long after a stream keeps it
LARGE_BODY = 1 << 20  # aiohttp warns about larger bodies given as bytes
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
Kept: TypeAlias = Literal["kept", "watched", "closed"]  # what becomes of a connection after a call
_SSE_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_anything = msgspec.json.Decoder(dict[str, msgspec.Raw])


class HttpClient:
    """A connection pool that several experts share. It belongs to the event loop of its first call.

    `connect_s` bounds name lookup, connection and TLS; `stall_s` the silence between two chunks of a body;
    `keepalive_s` how long an idle connection is kept, 0 for a new one per call. All in seconds.

    Limits: a server may close a kept connection just as the next request goes out on it. That request fails: it may
    have been read, and nothing is ever sent twice.
    """

    def __init__(
        self, *, connect_s: float = 5.0, stall_s: float = 60.0, keepalive_s: float = 15.0, proxies: bool = True
    ) -> None:
        self.connect_s, self.stall_s, self.keepalive_s, self.proxies = connect_s, stall_s, keepalive_s, proxies
        self.keeps_streams: dict[URL, bool] = {}  # by origin; see `_Habit`
        self.watched: dict[URL, asyncio.BaseTransport | None] = {}
        self._sessions: dict[Kept, aiohttp.ClientSession] = {}

    def session(self, kept: Kept = "kept") -> aiohttp.ClientSession:
        """The session whose connections are kept, watched or closed; made on first use inside the running loop."""
        if kept not in self._sessions:
            # Proxies come from the environment per base URL, once: `trust_env` would look them and the user's netrc
            # up again at every request. Certificates follow SSL_CERT_FILE and SSL_CERT_DIR through OpenSSL.
            idle: dict[str, Any] = (
                {"force_close": True} if kept == "closed" else {"keepalive_timeout": self.keepalive_s}
            )
            connector = partial(_Watching, self.watched) if kept == "watched" else aiohttp.TCPConnector
            self._sessions[kept] = aiohttp.ClientSession(
                connector=connector(limit=0, ttl_dns_cache=30, **idle),
                timeout=aiohttp.ClientTimeout(total=None, connect=self.connect_s),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
            )
        return self._sessions[kept]

    async def aclose(self) -> None:
        """Close every connection. The next call opens new ones."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()


class HttpExpert:
    """One arm on one server. `base_url` ends before `/chat/completions`; `key` is sent as a bearer token.

    Limits: one key per server; redirects are not followed, because they would carry the key elsewhere.
    """

    def __init__(self, arm: Arm, base_url: str, *, key: str | None = None, client: HttpClient | None = None) -> None:
        self.arm = arm
        self.client = client or HttpClient()
        self._owns_client = client is None
        self._urls: dict[str, URL] = {}
        self._base_url, self._origin = base_url.rstrip("/"), _origin(base_url)
        self._headers, self._key = _headers(arm.id, key), key
        self._proxy, self._proxy_auth = _proxy(self._base_url) if self.client.proxies else (None, None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.arm.id!r})"

    async def call(self, call: Call) -> Reply:
        """Send the call and return with its status and headers. Raises ExpertError.

        `deadline_s` bounds the whole call. Cancelling closes the connection, which is what makes upstream stop.
        """
        until = None if call.deadline_s is None else asyncio.get_running_loop().time() + call.deadline_s
        kept = self._kept(call)
        habit = _Habit(self.client, self._origin) if kept == "watched" else None
        try:
            response = await self._post(call, self.client.session(kept), until)
        except BaseException:
            if habit:
                habit.give_up()
            raise
        body = _Body(response, self, call, until, habit)
        return Reply(response.status, _end_to_end(response.headers, call.stream), body, body.settle, body.aclose)

    async def _post(self, call: Call, session: aiohttp.ClientSession, until: float | None) -> aiohttp.ClientResponse:
        headers = self._headers
        if call.headers:
            headers = CIMultiDict(call.headers)
            headers.update(self._headers)
        try:
            async with asyncio.timeout_at(until):
                response = await session.post(
                    self._url(call.path),
                    data=call.body if len(call.body) < LARGE_BODY else io.BytesIO(call.body),
                    headers=headers,
                    proxy=self._proxy,
                    proxy_auth=self._proxy_auth,
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if call.stream and isinstance(error, aiohttp.ServerDisconnectedError):
                self.client.keeps_streams[self._origin] = False
            raise self._failure(error, call) from error
        if 300 <= response.status < 400:
            response.close()
            raise self._error(f"answered with the redirect {response.status}; base_url must be the final address")
        return response

    def conceal(self, text: str) -> str:
        """What the server said, without the key, which some servers quote when they refuse it."""
        return text.replace(self._key, "…") if self._key else text

    async def aclose(self) -> None:
        """Release the connections, unless they are shared."""
        if self._owns_client:
            await self.client.aclose()

    def _kept(self, call: Call) -> Kept:
        """What becomes of the call's connection."""
        if self.client.keepalive_s <= 0:
            return "closed"
        if not call.stream or self._base_url.startswith("https:"):
            return "kept"
        keeps = self.client.keeps_streams.get(self._origin)
        return "watched" if keeps is None else "kept" if keeps else "closed"

    def _move(self, base_url: str) -> None:
        """Call another address from now on."""
        if base_url != self._base_url:
            self._base_url, self._origin, self._urls = base_url, _origin(base_url), {}

    def _url(self, path: str) -> URL:
        if path not in self._urls:
            self._urls[path] = URL(self._base_url + path)
        return self._urls[path]

    def _error(self, what: str, kind: type[ExpertError] = ExpertError) -> ExpertError:
        return kind(f"expert {self.arm.id!r} {what}", expert=self.arm.id)

    def _failure(self, error: Exception, call: Call) -> ExpertError:
        """The one place where the client's errors become ours."""
        match error:
            case aiohttp.ClientConnectorDNSError():
                return self._error("is unreachable: its host name was not found", ExpertUnreachable)
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
                reason = getattr(getattr(error, "certificate_error", error), "reason", None) or "handshake failed"
                return self._error(f"is unreachable: TLS: {reason}", ExpertUnreachable)
            case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
                return self._error("is unreachable: the proxy did not connect", ExpertUnreachable)
            case aiohttp.ConnectionTimeoutError():
                return self._error(f"is unreachable: no connection in {self.client.connect_s:g} s", ExpertUnreachable)
            case aiohttp.ClientConnectorError():
                reason = os.strerror(error.errno) if error.errno else "no connection"
                return self._error(f"is unreachable: {reason.lower()}", ExpertUnreachable)
            case aiohttp.InvalidURL():
                return self._error("is unreachable: its base_url is not a valid URL", ExpertUnreachable)
            case TimeoutError():
                return self._error(f"did not answer within {call.deadline_s or 0:g} s", ExpertTimeout)
            case aiohttp.ClientResponseError():
                return self._error("answered with malformed HTTP")
            case ValueError():
                return self._error(f"cannot be sent this request: {type(error).__name__}")
        return self._error("closed the connection before it answered")


class _Habit:
    """Learns whether a server keeps its connection after a stream, from one that no other request will use.

    Small servers, llama.cpp's among them, close a connection after a stream without saying so, and the next request on
    it would be lost. Without TLS a new connection costs half a millisecond; with TLS it costs so much more that streams
    keep theirs anyway.
    """

    def __init__(self, client: HttpClient, origin: URL) -> None:
        self._client, self._origin = client, origin
        client.keeps_streams[origin] = False  # until this stream has shown otherwise

    def begin(self) -> None:
        """Look at the connection in a while, now that the stream has been read to its end."""
        asyncio.get_running_loop().call_later(WATCHED_S, self._look)

    def give_up(self) -> None:
        """Leave it to the next stream."""
        self._client.keeps_streams.pop(self._origin, None)

    def _look(self) -> None:
        transport = self._client.watched.pop(self._origin, None)
        self._client.keeps_streams[self._origin] = transport is not None and not transport.is_closing()


class _Watching(aiohttp.TCPConnector):
    """Notes the transports of its connections, for a connection is out of sight once its answer has ended."""

    def __init__(self, transports: dict[URL, asyncio.BaseTransport | None], **options: Any) -> None:
        super().__init__(**options)
        self._transports = transports

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        self._transports[req.url.origin()] = connection.transport
        return connection


class _Body:
    """A reply's bytes as they arrive, and the little that is kept of them for the usage.

    A stream passes chunk by chunk. Any other success is read whole and must be a JSON object before its one chunk is
    passed on, so that a cut or garbled answer can still be asked for elsewhere.
    """

    __slots__ = (
        "_call",
        "_done",
        "_expert",
        "_habit",
        "_has_begun",
        "_kept",
        "_kept_bytes",
        "_late",
        "_response",
        "_timer",
        "_until",
        "_waits_since",
    )

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        expert: HttpExpert,
        call: Call,
        until: float | None,
        habit: _Habit | None,
    ) -> None:
        self._response, self._expert, self._call, self._habit = response, expert, call, habit
        self._until = NEVER if until is None else until
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._done = self._has_begun = False
        self._late: ExpertError | None = None
        self._waits_since = NEVER
        self._timer: asyncio.TimerHandle | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._done:
            raise StopAsyncIteration
        if self._is_success and not self._call.stream:
            return await self._whole()
        chunk = await self._next()
        if not chunk:
            if self._call.stream and self._is_success and not self._is_encoded and not sse.is_finished(self._tail()):
                self._finish()
                raise self._expert._error("ended its stream before the answer was whole")
            if self._habit:
                self._habit.begin()
                self._habit = None
            self._finish()
            raise StopAsyncIteration
        if self._call.stream and self._is_success and not self._kept and not self._is_encoded:
            self._check_stream(chunk)
        self._keep(chunk)
        return chunk

    def settle(self) -> Usage:
        """What the call consumed, as far as upstream said so."""
        if not self._is_success or self._is_encoded:
            return Usage()
        return sse.usage_of_events(self._tail()) if self._call.stream else sse.usage_of_json(self._tail())

    async def aclose(self) -> None:
        """Give the rest up: closes the connection unless the body was read to its end."""
        if not self._done:
            self._response.close()
        self._finish()

    @property
    def _is_success(self) -> bool:
        return self._response.status < 300

    @property
    def _is_encoded(self) -> bool:
        return self._response.headers.get("Content-Encoding", "identity") != "identity"

    async def _next(self) -> bytes:
        """The next chunk, or nothing at the end. Raises ExpertError where the body breaks off or stalls."""
        content, loop = self._response.content, asyncio.get_running_loop()
        if self._has_begun:
            self._waits_since = loop.time()
        if self._timer is None and not content.is_eof():
            self._watch()
        try:
            chunk = await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            self._finish()
            self._response.close()
            raise (self._late or self._expert._error("broke off its answer")) from error
        self._has_begun, self._waits_since = True, NEVER
        return chunk

    async def _whole(self) -> bytes:
        chunks, size = [], 0
        while chunk := await self._next():
            chunks.append(chunk)
            size += len(chunk)
            if size > JSON_BYTES:
                await self.aclose()
                raise self._expert._error(f"answered with more than {JSON_BYTES >> 20} MiB")
        self._finish()
        whole = b"".join(chunks)
        if not self._is_encoded:
            try:
                _anything.decode(whole)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise self._expert._error(f"answered {self._response.status} without a JSON object") from error
        self._kept.append(whole)
        return whole

    def _check_stream(self, chunk: bytes) -> None:
        head = chunk.lstrip(b"\xef\xbb\xbf \r\n")[:6]
        if not any(head.startswith(field) or field.startswith(head) for field in _SSE_FIELDS):
            self._finish()
            self._response.close()
            raise self._expert._error("answered a request for a stream with something else than events")

    def _keep(self, chunk: bytes) -> None:
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        while self._kept_bytes - len(self._kept[0]) >= TAIL_BYTES:
            self._kept_bytes -= len(self._kept.popleft())

    def _tail(self) -> bytes:
        return b"".join(self._kept)

    def _watch(self) -> None:
        """One timer per body looks how long a chunk has been waited for, instead of one timer per chunk.

        Silence before the first chunk is the model at work, and a reader that takes its time is no stall.
        """
        loop, stall_s = asyncio.get_running_loop(), self._expert.client.stall_s
        now, stalls_at = loop.time(), self._waits_since + stall_s
        if now < min(stalls_at, self._until):
            self._timer = loop.call_at(min(stalls_at, self._until, now + stall_s), self._watch)
            return
        what = f"sent nothing for {stall_s:g} s" if stalls_at <= now else "had not finished at its deadline"
        self._late = self._expert._error(what, ExpertTimeout)
        self._response.close()

    def _finish(self) -> None:
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._habit:  # the stream has shown nothing
            self._habit.give_up()
            self._habit = None


def _headers(expert: str, key: str | None) -> CIMultiDict[str]:
    headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
    headers["User-Agent"] = f"turnout/{__version__}"
    if key:
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(f"the key of expert {expert!r} holds characters that no HTTP header can carry")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _end_to_end(headers: Mapping[str, str], stream: bool) -> dict[str, str]:
    """Upstream's headers in lower case, without those that belong to its connection."""
    kept = {name.lower(): value for name, value in headers.items()}
    for name in HOP_BY_HOP & kept.keys():
        del kept[name]
    if stream:
        kept.pop("content-length", None)
    return kept


def _origin(base_url: str) -> URL:
    """Scheme, host and port; what is no address of a server stays as it is, for a call to say so."""
    url = URL(base_url)
    return url.origin() if url.absolute else url


def _proxy(base_url: str) -> tuple[URL | None, aiohttp.BasicAuth | None]:
    """The environment's proxy for a server; never one for this machine itself."""
    url = URL(base_url)
    found = urllib.request.getproxies().get(url.scheme)
    if not found or url.host in {None, "localhost", "127.0.0.1", "::1"} or urllib.request.proxy_bypass(url.host or ""):
        return None, None
    proxy = URL(found if "://" in found else f"http://{found}")
    auth = aiohttp.BasicAuth(proxy.user, proxy.password or "") if proxy.user else None
    return proxy.with_user(None), auth
