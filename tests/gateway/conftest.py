"""A real gateway in a thread, over real scripted servers and a really fitted router."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from turnout import registry
from turnout.config import Config, ExpertConfig, GatewayConfig, RouterConfig, TracesConfig
from turnout.experts.http import HttpClient, HttpExpert
from turnout.experts.pool import Pool
from turnout.gateway import server
from turnout.gateway.app import build
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.rules import bind
from turnout.store.traces import TraceStore
from turnout.testing.experts import Script, ScriptedServer
from turnout.types import Arm, Limits, Price

SUM, NAME = "add item 7 + 41", "name item 8  310"  # the router sends the first to `sums`, the second to `names`


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, whose shape is checked."""
        document = self.json()
        assert set(document) == {"error"}, document
        assert set(document["error"]) == {"message", "type", "param", "code"}, document
        assert isinstance(document["error"]["message"], str)
        return dict(document["error"])


@dataclass
class Gateway:
    """What a test talks to. `upstreams` are the scripted servers by expert id."""

    url: str
    store: TraceStore
    upstreams: Mapping[str, ScriptedServer]
    config: Config
    loop: asyncio.AbstractEventLoop = field(repr=False)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        host, port = self.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        try:
            defaults = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, body, {**defaults, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def chat(self, body: Mapping[str, Any] | bytes, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", "/v1/chat/completions", raw, {k.replace("_", "-"): v for k, v in headers.items()})

    def ask(self, text: str, *, model: str = "turnout/auto", **fields: Any) -> Answer:
        return self.chat({"model": model, "messages": [{"role": "user", "content": text}], **fields})

    def script(self, **scripts: Script | tuple[Script, ...]) -> None:
        """What each expert does from now on; experts that are not named answer `ok`."""
        for name, upstream in self.upstreams.items():
            given = scripts.get(name, Script())
            upstream.scripts = given if isinstance(given, tuple) else (given,)
            upstream.requests.clear()

    def asked(self) -> dict[str, int]:
        """How often each expert was asked since `script`."""
        return {name: len(upstream.requests) for name, upstream in self.upstreams.items()}

    def trace(self, trace_id: str) -> Any:
        return self.store.get(trace_id)

    def metric(self, line: str) -> float:
        """One line of /metrics, by its name and labels; 0 where it is not there."""
        for found in self.request("GET", "/metrics").body.decode().splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0


def arms() -> dict[str, Arm]:
    small = frozenset({"response_format", "logprobs", "prefill"})
    return {
        "sums": Arm("sums", price=Price(2.0, 10.0), model="sums-model", limits=Limits(8000)),
        "names": Arm("names", price=Price(1.0, 5.0), model="names-model", limits=Limits(4000, small)),
    }


@pytest.fixture(scope="session")
def router() -> Router:
    prompts = [f"{'add' if n % 2 else 'name'} item {n} {'+' * (n % 2)} {n * 7919 % 1000}" for n in range(200)]
    scores_NE = [[n % 2, 1 - n % 2] for n in range(200)]
    ridge = registry.create("estimator", "ridge", on=("embedding",))  # fits in a second
    return Router.fit(OutcomeLog.from_arrays(prompts, ["sums", "names"], scores_NE), estimator=ridge)


def config_of(**sections: Any) -> Config:
    experts = tuple(ExpertConfig(name, "http://127.0.0.1:1/v1") for name in arms())
    gateway = dataclasses.replace(GatewayConfig(port=0, deadline_s=5.0), **sections.get("gateway", {}))
    router = RouterConfig(**sections.get("router", {}))
    return Config(gateway=gateway, router=router, traces=TracesConfig(**sections.get("traces", {})), experts=experts)


@contextlib.contextmanager
def running(
    fitted: Router,
    folder: Path,
    *,
    environ: Mapping[str, str] | None = None,
    store: TraceStore | None = None,
    base_urls: Mapping[str, str] | None = None,
    **sections: Any,
) -> Iterator[Gateway]:
    """A gateway over two scripted servers, `sums` and `names`, until the block ends."""
    config = config_of(**sections)
    with contextlib.ExitStack() as stack:
        upstreams = {name: stack.enter_context(ScriptedServer()) for name in arms()}
        urls = {**{name: upstream.base_url for name, upstream in upstreams.items()}, **(base_urls or {})}
        store = TraceStore(folder / "traces.sqlite", keep=config.traces.store) if store is None else store
        stack.callback(store.close)
        client = HttpClient(connect_s=1.0, proxies=False)
        pool = Pool(
            {n: HttpExpert(arm, urls[n], key="upstream-key", client=client) for n, arm in arms().items()}, (client,)
        )
        bound = bind(fitted, pool.arms, signals=config.router.signals, rules=config.router.rules)
        app = build(config, pool, bound, store, environ=environ or {})
        ready, found = threading.Event(), []

        async def serve() -> None:
            stop, loop = asyncio.Event(), asyncio.get_running_loop()

            def on_ready(url: str) -> None:
                found.extend((url, loop, stop))
                ready.set()

            await server.serve(app, config, on_ready=on_ready, stop=stop)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        assert ready.wait(10), "the gateway did not start"
        url, loop, stop = found
        try:
            yield Gateway(url, store, upstreams, config, loop)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(15)
            assert not thread.is_alive(), "the gateway did not stop"


@pytest.fixture(scope="module")
def shared_gateway(router: Router, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(router, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """The module's gateway, its experts answering `ok`."""
    shared_gateway.script()
    return shared_gateway


@pytest.fixture
def start(router: Router, tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway with settings of its own."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(router, tmp_path, **settings))
