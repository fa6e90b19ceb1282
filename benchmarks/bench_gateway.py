"""What the gateway costs: CPU a request, added time to the first token, CPU of a long prompt, resident memory.

    python benchmarks/bench_gateway.py [--requests 6000] [--router FOLDER] [--json]

Three processes: a mock upstream, the server under test, and this driver. The servers are the gateway with everything on
(a router over nine experts, metrics, a trace row each) and a bare uvicorn + aiohttp proxy that only copies bytes. The
router is a ridge on the embedding, or the one that is named; `default` is the average over all signals.
`forced` names the expert in the request, so that nothing is decided: what the gateway itself costs. CPU is the server
process's own, user and system, all threads; the best of many short rounds, taken in turns, because what else runs on
the machine can only add to it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

Servers: TypeAlias = dict[str, tuple[str, int]]
HOST = "127.0.0.1"
PROMPT = ("How many prime numbers lie between 100 and 200, and which is the largest of them? Explain the steps. " * 2)[
    :200
]
EXPERTS = tuple(f"expert-{n}" for n in range(9))
BARS = {"cpu_ms": 0.6, "added_ttft_ms": 1.0, "cpu_200kb_ms": 1.5, "rss_mb": 120.0}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "mock",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "There are 21."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 40, "completion_tokens": 6, "total_tokens": 46},
}


class Upstream(asyncio.Protocol):
    """Answers at once, with as little work as asyncio allows."""

    whole = json.dumps(ANSWER).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole) + whole
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    def connection_made(self, transport: Any) -> None:
        self.transport, self.seen = transport, b""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, found, body = self.seen.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.seen = b""
        self.transport.write(self.events() if b'"stream":true' in body.replace(b" ", b"") else self.reply)

    @classmethod
    def events(cls) -> bytes:
        texts = [f'data: {{"choices":[{{"index":0,"delta":{{"content":"word{n} "}}}}]}}\n\n'.encode() for n in range(8)]
        usage = b'data: {"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":8,"total_tokens":48}}\n\n'
        chunks = [*texts, usage, b"data: [DONE]\n\n"]
        return cls.head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


async def serve_upstream() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, HOST, 0)
    announce(f"http://{HOST}:{server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


def serve_bare(upstream: str) -> None:
    """uvicorn + aiohttp, copying bytes: what any Python gateway pays."""
    import aiohttp
    import uvicorn

    from turnout.gateway.server import address, bind

    listener, session = bind(HOST, 0), None

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        nonlocal session
        session = session or aiohttp.ClientSession(auto_decompress=False)
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        headers = {"content-type": "application/json"}
        async with session.post(f"{upstream}/v1/chat/completions", data=body, headers=headers) as answer:
            kept = [(b"content-type", answer.headers["content-type"].encode())]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    settings = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", loop="uvloop", http="httptools")
    announce(address(listener))
    uvicorn.Server(settings).run(sockets=[listener])


def serve_gateway(upstream: str, folder: str, fitted: str) -> None:
    from turnout.config import Config, GatewayConfig
    from turnout.experts.http import HttpClient, HttpExpert
    from turnout.experts.pool import Pool
    from turnout.gateway import server
    from turnout.gateway.app import build
    from turnout.routers import Router
    from turnout.store.traces import TraceStore
    from turnout.types import Arm, Price

    client = HttpClient()
    arms = [Arm(name, price=Price(0.5 + n, 2.0 + n)) for n, name in enumerate(EXPERTS)]
    pool = Pool({arm.id: HttpExpert(arm, f"{upstream}/v1", client=client) for arm in arms}, (client,))
    router = Router.load(Path(fitted)).bind(pool.arms)
    config = Config(gateway=GatewayConfig(host=HOST, port=0))
    store = TraceStore(Path(folder) / f"{Path(fitted).name}.sqlite")
    server.run(build(config, pool, router, store), config, on_ready=announce)


def fit_routers(folder: Path) -> None:
    """Two routers over nine experts: a parametric one, and the default average over all signals."""
    import numpy as np

    from turnout import registry
    from turnout.outcomes import OutcomeLog
    from turnout.routers import Router

    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in ("pri", "qua", "sol", "ter", "ver") for b in ("me", "nto", "la", "dic", "x", "bus")]
    prompts = [" ".join(rng.choice(words, 12)) + f" {n}?" for n in range(900)]
    skill_NE = rng.random((900, 1)) * 0.4 + np.linspace(0.1, 0.5, 9)
    scores_NE = (rng.random((900, 9)) < skill_NE).astype(float)
    log = OutcomeLog.from_arrays(prompts, EXPERTS, scores_NE)
    ridge = registry.create("estimator", "ridge", on=("embedding",))
    Router.fit(log, estimator=ridge, guard=False).save(folder / "ridge")
    Router.fit(log, guard=False).save(folder / "default")


def announce(address: str) -> None:
    sys.stdout.write(address + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def started(role: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """A server in its own process: its address and process id."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--role", role, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError(f"the {role} did not start")
            yield address, process.pid
        finally:
            process.terminate()


def body_of(characters: int, *, stream: bool = False, model: str = "turnout/auto") -> bytes:
    prompt = (PROMPT * (characters // len(PROMPT) + 1))[:characters]
    return json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}).encode()


async def drive(address: str, body: bytes, requests: int, connections: int) -> list[float]:
    """Send the same request over kept connections; seconds to the first body byte, per request."""
    host, port = address.removeprefix("http://").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    message = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
    times: list[float] = []

    async def one_connection(share: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
        for _ in range(share):
            begun = time.perf_counter()
            writer.write(message)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError((answer + await reader.read(2000)).decode())
            if b"transfer-encoding" in answer.lower():
                size = int(await reader.readuntil(b"\r\n"), 16)
                times.append(time.perf_counter() - begun)
                while size:
                    await reader.readexactly(size + 2)
                    size = int(await reader.readuntil(b"\r\n"), 16)
                await reader.readexactly(2)
            else:
                length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                times.append(time.perf_counter() - begun)
                await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(one_connection(requests // connections) for _ in range(connections)))
    return times


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process."""
    threads = Path(f"/proc/{pid}/task")
    if threads.is_dir():  # in nanoseconds; the process's own counters move in steps of ten milliseconds
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads.iterdir()) / 1e9
    import psutil

    return sum(psutil.Process(pid).cpu_times()[:2])


def cpu_ms(
    servers: Servers, body: bytes, requests: int, *, connections: int = 16, rounds: int = 20
) -> dict[str, float]:
    """CPU milliseconds a request of each server process, the best of many short rounds, taken in turns."""
    found: dict[str, list[float]] = {name: [] for name in servers}
    share = requests // rounds // connections * connections
    for turn in range(rounds + 1):
        for name, (address, pid) in servers.items():
            before = cpu_seconds(pid)
            asyncio.run(drive(address, body, share, connections))
            time.sleep(0.06)  # the trace writer's last batch belongs to these requests
            if turn:  # the first round warms up
                found[name].append((cpu_seconds(pid) - before) / share * 1e3)
    return {name: min(values) for name, values in found.items()}


def measure(requests: int, router: Path | None) -> dict[str, dict[str, float]]:
    import psutil

    stream = body_of(200, stream=True)
    bodies = {
        "cpu_ms": (body_of(200), requests, 16),
        "cpu_forced_ms": (body_of(200, model=EXPERTS[0]), requests, 16),
        "cpu_stream_ms": (stream, requests, 16),
        "cpu_200kb_ms": (body_of(200_000), requests // 4, 4),
    }
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        fit_routers(Path(folder))
        upstream, _ = stack.enter_context(started("upstream"))
        servers: Servers = {
            "bare proxy": stack.enter_context(started("bare", upstream)),
            "turnout": stack.enter_context(started("gateway", upstream, folder, str(router or f"{folder}/ridge"))),
            "default": stack.enter_context(started("gateway", upstream, folder, f"{folder}/default")),
        }
        rows: dict[str, dict[str, float]] = {name: {} for name in servers}
        for key, (body, count, connections) in bodies.items():
            for name, value in cpu_ms(servers, body, count, connections=connections).items():
                rows[name][key] = value
        ttft: dict[str, list[float]] = {"direct": [], **{name: [] for name in servers}}
        for _ in range(5):  # in turns, so that a busy moment of the machine meets all three
            for name, address in {"direct": upstream, **{n: a for n, (a, _) in servers.items()}}.items():
                ttft[name] += asyncio.run(drive(address, stream, 100, 1))
        direct = statistics.median(ttft["direct"])
        for name, (_, pid) in servers.items():
            rows[name]["added_ttft_ms"] = (statistics.median(ttft[name]) - direct) * 1e3
            rows[name]["rss_mb"] = psutil.Process(pid).memory_info().rss / 1e6
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--router", type=Path, help="a fitted router, in place of the ridge")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", choices=["driver", "upstream", "bare", "gateway"], default="driver")
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "upstream":
        asyncio.run(serve_upstream())
    elif options.role == "bare":
        serve_bare(*options.arguments)
    elif options.role == "gateway":
        serve_gateway(*options.arguments)
    else:
        report(measure(options.requests, options.router), as_json=options.json)


def report(rows: dict[str, dict[str, float]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"bars": BARS, "rows": rows}))
        return
    print(f"{'':16}{'bare proxy':>12}{'turnout':>12}{'ratio':>8}{'default':>12}{'ratio':>8}{'bar':>8}")
    for key, ours in rows["turnout"].items():
        bare, default, bar = rows["bare proxy"][key], rows["default"][key], BARS.get(key)
        verdict = "" if bar is None else f"{bar:8g}  {'met' if ours <= bar else 'MISSED'}"
        print(f"{key:16}{bare:12.3f}{ours:12.3f}{ours / bare:8.2f}{default:12.3f}{default / bare:8.2f}{verdict}")


if __name__ == "__main__":
    main()
