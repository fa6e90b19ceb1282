"""POST /v1/chat/completions: decide, ask, pass the bytes on, leave a trace.

A failure has one form. Before the first byte has gone out: a status and OpenAI's error shape. After it (streams only,
since other answers are passed on whole): an event with that shape, and no `[DONE]`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol, TypeVar

from turnout.config import Config
from turnout.errors import ExpertError, RefusedError, RequestError, did_you_mean
from turnout.executor import run
from turnout.experts.patch import patch
from turnout.experts.sse import UsageFilter
from turnout.gateway import replies
from turnout.gateway.body import Parsed, cached_bytes, conversation, parse, tool_loop, user_turns
from turnout.gateway.metrics import Metrics
from turnout.gateway.replies import Header, Receive, Responder
from turnout.gateway.sessions import WARM_S, Keys, Sessions, Thread, keys_of
from turnout.gateway.text import answer_text
from turnout.types import BYTES_PER_TOKEN, Arm, Call, Decision, Expert, Plan, Reply, Request, Trace

AUTO = "turnout/auto"
DONE = (b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n")
LONGEST_NAME = 200  # characters of what a client calls a model, its conversation or tenant; they are remembered
CLIENT_LEFT = 499  # nginx's status for a client that closed the connection; seen in traces and metrics only
T = TypeVar("T")
OURS_TO_MEND = frozenset({401, 403, 404})  # the gateway's own key or model name, which is none of the client's business

log = logging.getLogger("turnout.gateway")


class Decider(Protocol):
    """A router bound to the live pool."""

    def is_slow(self, request: Request) -> bool:
        """Whether a decision may take over a millisecond, so that it runs in a thread."""
        ...

    def decide(self, request: Request, *, seed: int, explore: float = 0.0, switch_margin: float = 0.0) -> Decision: ...


class TraceSink(Protocol):
    """Where traces go; `put` never blocks and never raises."""

    def put(self, trace: Trace) -> bool: ...


@dataclass(slots=True)
class Exchange:
    """One request on its way: its conversation, its trace, its response.

    `finished` is set, and the trace put, before the last bytes go out: a client that has its answer may send feedback.
    """

    trace: Trace
    started: float
    respond: Responder
    keys: Keys | None = None
    finished: bool = False
    session: str = ""


class Chat:
    """The endpoint. `clock` is monotonic, `wall` the time of day, both in seconds; `rng` makes seeds and trace ids."""

    def __init__(
        self,
        config: Config,
        experts: Mapping[str, Expert],
        router: Decider,
        store: TraceSink | None,
        metrics: Metrics,
        *,
        versions: Mapping[str, str],
        clock: Callable[[], float],
        wall: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._config, self._experts, self._router, self._store = config, experts, router, store
        self._metrics, self._clock, self._wall, self._rng = metrics, clock, wall, rng
        self._screen: Callable[..., None] | None = getattr(router, "screen", None)
        self._reads_turns: bool = getattr(router, "reads_turns", False)
        self._arms = {name: expert.arm for name, expert in experts.items()}
        self._sessions = Sessions()
        self._threads = ThreadPoolExecutor(2, "turnout-decide")
        self._versions = versions
        self._active = 0
        self._keep_text = config.traces.store == "prompts"

    def close(self) -> None:
        """Stop the threads that decide."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, headers: Mapping[bytes, bytes], body: bytes, receive: Receive, respond: Responder) -> None:
        """Serve one request whose body has been read."""
        trace = Trace(id=f"tr_{self._rng.getrandbits(96):024x}", time=self._wall(), requested="")
        exchange = Exchange(trace, self._clock(), respond)
        task = asyncio.current_task()
        assert task is not None
        watch = asyncio.get_running_loop().create_task(_watch(receive, respond, task))
        self._active += 1
        self._metrics.inflight += 1
        try:
            await self._serve(exchange, headers, body)
        except (RequestError, ExpertError) as error:
            self._finish(exchange, error.status)
            await respond.error(error, [(b"x-turnout-trace", trace.id.encode())])
        except asyncio.CancelledError:
            self._finish(exchange, CLIENT_LEFT)
            if not (watch.done() and not watch.cancelled()):
                raise  # the server is stopping
            task.uncancel()
        finally:
            watch.cancel()
            self._active -= 1
            self._metrics.inflight -= 1
            self._finish(exchange, 500)

    async def _serve(self, exchange: Exchange, headers: Mapping[bytes, bytes], body: bytes) -> None:
        if self._active > self._config.gateway.max_inflight:
            limit = self._config.gateway.max_inflight
            message = f"{limit} requests are being served, which is the limit (`gateway.max_inflight`); try again"
            raise RequestError(message, status=503, type="server_error", code="overloaded")
        parsed = parse(body)
        trace = exchange.trace
        trace.requested = parsed.body.model[:LONGEST_NAME]
        try:
            decision = trace.decision = await self._decide(exchange, parsed, headers)
        except RefusedError as error:
            trace.decision = error.decision
            raise
        deadline = exchange.started + self._config.gateway.deadline_s
        reply = await run(
            Plan(decision.plan.expert, self._fallbacks(decision)),
            partial(self._call, body, parsed, deadline),
            self._experts,
            deadline=deadline,
            clock=self._clock,
            records=trace.calls,
        )
        trace.expert = trace.calls[-1].expert
        trace.first_byte_s = self._clock() - exchange.started
        try:
            if parsed.stream and reply.status == 200:
                withhold = not parsed.wants_usage and "content-encoding" not in reply.headers
                await self._stream(exchange, reply, UsageFilter() if withhold else None)
            else:
                await self._whole(exchange, reply)
        finally:
            await reply.aclose()

    async def _decide(self, exchange: Exchange, parsed: Parsed, headers: Mapping[bytes, bytes]) -> Decision:
        wanted, seed = parsed.body.model, self._rng.getrandbits(63)
        request = self._request(exchange, parsed, headers)
        if self._keep_text:
            exchange.trace.prompt = request.text
        if wanted != AUTO:
            decision = self._forced(wanted, request, seed)
            if self._screen is not None:
                await self._aside(request, partial(self._screen, request, seed=seed))
            return decision
        settings = self._config.router
        decide = partial(
            self._router.decide, request, seed=seed, explore=settings.explore, switch_margin=settings.switch_margin
        )
        return await self._aside(request, decide)

    async def _aside(self, request: Request, work: Callable[[], T]) -> T:
        """In a thread where it may take over a millisecond."""
        if self._router.is_slow(request):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        return work()

    def _request(self, exchange: Exchange, parsed: Parsed, headers: Mapping[bytes, bytes]) -> Request:
        body = parsed.body
        name = headers.get(b"x-turnout-session", b"").decode("latin-1")
        name = (name or (body.metadata and body.metadata.session_id) or "")[:LONGEST_NAME]
        keys = exchange.keys = keys_of(body.messages, name or None, body.user)
        thread = self._sessions.find(keys)
        exchange.session = exchange.trace.session = thread.session if thread else name or exchange.trace.id
        turns = user_turns(body.messages)
        text, said = conversation(parsed, turns)
        warm = thread is not None and self._clock() - thread.at <= WARM_S
        return Request(
            text,
            bytes=parsed.size,
            needs=parsed.needs,
            max_tokens=parsed.max_tokens,
            session=exchange.session,
            previous=thread.expert if thread else None,
            tenant=headers.get(b"x-turnout-tenant", b"").decode("latin-1")[:LONGEST_NAME] or body.user,
            turns=turns if self._reads_turns else (),
            cached_tokens=int(cached_bytes(body.messages) / BYTES_PER_TOKEN) if warm else 0,
            tool_loop=thread is not None and tool_loop(body.messages),
            said=said,
        )

    def _forced(self, wanted: str, request: Request, seed: int) -> Decision:
        arm = self._arms.get(wanted)
        if arm is None:
            raise unknown_model(wanted, (AUTO, *self._arms))
        if refusal := arm.limits.refusal(request):
            raise no_expert({wanted: refusal})
        names = tuple(self._arms)
        return Decision(Plan(wanted), "forced", names, tuple(name == wanted for name in names), seed=seed)

    def _call(self, body: bytes, parsed: Parsed, deadline: float, arm: Arm) -> Call:
        ask = parsed.stream and not parsed.wants_usage
        patched = patch(body, model=arm.model or arm.id, suffix=arm.how.suffix, fields=arm.how.body, include_usage=ask)
        return Call(patched, stream=parsed.stream, deadline_s=deadline - self._clock())

    async def _whole(self, exchange: Exchange, reply: Reply) -> None:
        """Pass an answer or a refusal on in one piece, so that its cost is known before its headers go."""
        trace, expert = exchange.trace, exchange.trace.calls[-1].expert
        body = b"".join([chunk async for chunk in reply.body])
        if reply.status in OURS_TO_MEND:
            raise ExpertError(f"expert {expert!r} refused the gateway's call with HTTP {reply.status}", expert=expert)
        if reply.status >= 400 and not replies.is_error(body):
            message = f"expert {expert!r} answered HTTP {reply.status} without saying why"
            raise ExpertError(message, expert=expert, status=reply.status)
        self._settle(exchange, reply, [body])
        self._finish(exchange, reply.status)
        await exchange.respond.whole(reply.status, self._headers(exchange, reply, trace.cost), body)

    async def _stream(self, exchange: Exchange, reply: Reply, events: UsageFilter | None) -> None:
        """Pass events on as they come; `events` withholds the one with the usage, which the client did not ask for."""
        respond, status = exchange.respond, reply.status
        kept: list[bytes] = []
        try:
            async for chunk in reply.body:
                data = events.feed(chunk) if events else chunk
                if not data:
                    continue
                if self._keep_text:
                    kept.append(data)
                if data.endswith(DONE):  # clients leave at this event, before the end of the body
                    self._settle(exchange, reply, kept)
                    self._finish(exchange, status)
                if not respond.started:
                    await respond.start(status, self._headers(exchange, reply, None))
                await respond.chunk(data, more=True)
        except ExpertError as error:
            if not respond.started:
                raise
            if not exchange.finished:
                await self._break_off(exchange, reply, kept, error)
                return
        except asyncio.CancelledError:
            self._settle(exchange, reply, kept)
            raise
        self._settle(exchange, reply, kept)
        self._finish(exchange, status)
        if not respond.started:
            await respond.start(status, self._headers(exchange, reply, None))
        await respond.chunk(events.close() if events else b"", more=False)

    async def _break_off(self, exchange: Exchange, reply: Reply, kept: list[bytes], error: ExpertError) -> None:
        """The one form of a failure after the first byte."""
        trace = exchange.trace
        log.warning("%s: an answer broke off after its first byte: %s", trace.id, error)
        self._metrics.broken[trace.calls[-1].expert] += 1
        self._settle(exchange, reply, kept)
        self._finish(exchange, error.status)
        await exchange.respond.chunk(replies.error_event(error), more=False)

    def _settle(self, exchange: Exchange, reply: Reply, kept: list[bytes]) -> None:
        """What the answer consumed and cost, its text where text is kept, and who goes on with the conversation."""
        if exchange.finished:
            return
        trace = exchange.trace
        usage = trace.usage = reply.settle()
        if usage.prompt_tokens is not None or usage.completion_tokens is not None:
            price = self._arms[trace.calls[-1].expert].price
            trace.cost = price.cost(usage.prompt_tokens or 0, usage.completion_tokens or 0)
        if self._keep_text:
            stream = "event-stream" in reply.headers.get("content-type", "")
            trace.response = answer_text(b"".join(kept), stream=stream)
        if reply.status == 200 and exchange.keys is not None:
            self._sessions.keep(exchange.keys, Thread(exchange.session, trace.calls[-1].expert, self._clock()))

    def _headers(self, exchange: Exchange, reply: Reply, cost: float | None) -> list[Header]:
        """Upstream's, and who answers and why; `cost` in US dollars is the actual one, or None for the estimate."""
        trace = exchange.trace
        decision, expert = trace.decision, trace.calls[-1].expert
        assert decision is not None
        headers = replies.passed(reply.headers)
        headers += (
            (b"x-turnout-expert", told(expert)),
            (b"x-turnout-plan", told(" > ".join((decision.plan.expert, *self._fallbacks(decision))))),
            (b"x-turnout-reason", told(decision.reason)),
            (b"x-turnout-trace", trace.id.encode()),
        )
        place = decision.experts.index(expert)
        if decision.rule is not None:
            headers.append((b"x-turnout-rule", told(decision.rule)))
        if decision.quality:
            headers.append((b"x-turnout-quality", b"%.4f" % decision.quality[place]))
        if cost is None and decision.cost:
            cost = decision.cost[place]
        if cost is not None:
            headers.append((b"x-turnout-cost", b"%.9f" % cost))
        return headers

    def _fallbacks(self, decision: Decision) -> tuple[str, ...]:
        """The decision ranks all eligible experts; the configuration says how many of them are tried."""
        return decision.plan.fallbacks[: self._config.router.retries]

    def _finish(self, exchange: Exchange, status: int) -> None:
        """Count the request and put its trace, once; nothing of it changes afterwards."""
        if exchange.finished:
            return
        exchange.finished = True
        trace = exchange.trace
        trace.status = status
        trace.latency_s = self._clock() - exchange.started
        trace.versions = self._versions
        if trace.calls and trace.calls[-1].total_s is None:  # a stream's last event goes out before its call has ended
            trace.calls[-1].total_s = trace.latency_s - sum(call.total_s or 0.0 for call in trace.calls[:-1])
        self._metrics.observe(trace)
        if self._store is not None:
            self._store.put(trace)


@lru_cache(maxsize=1024)
def told(name: str) -> bytes:
    """A name from the configuration as a header's value."""
    return name.encode("ascii", "replace")


async def _watch(receive: Receive, respond: Responder, task: asyncio.Task[None]) -> None:
    """Cancel the task when the client leaves before the response has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not respond.ended:
        task.cancel()
    else:
        await asyncio.get_running_loop().create_future()  # never ends: `done` means that the client left


def unknown_model(wanted: str, known: Sequence[str]) -> RequestError:
    """The error for a model that is not here.

    >>> unknown_model("turnout/aut", ["turnout/auto"]).code
    'model_not_found'
    """
    wanted = wanted[:LONGEST_NAME]  # to look for a name that is near takes long for a text of megabytes
    message = f"the model {wanted!r} does not exist{did_you_mean(wanted, known)} known: {', '.join(known)}"
    return RequestError(message, status=404, code="model_not_found", param="model")


def no_expert(refusals: Mapping[str, str]) -> RequestError:
    """The error where no expert can take a request: too long for all, or a feature that none has.

    >>> no_expert({"a": "about 9000 tokens exceed the context of 4096"}).code
    'context_length_exceeded'
    """
    too_long = all("context" in reason for reason in refusals.values())
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
    if too_long:
        message = f"the prompt is longer than any expert's context. {reasons}"
        return RequestError(message, code="context_length_exceeded", param="messages")
    return RequestError(f"no expert can serve this request. {reasons}", code="unsupported_feature")
