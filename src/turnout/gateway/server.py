"""Runs the application: one process, one event loop, uvicorn with uvloop and httptools where they are installed.

Nothing is printed here; `on_ready` is told the address once requests are answered.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib.util
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvicorn

from turnout.config import Config
from turnout.errors import ConfigError

if TYPE_CHECKING:
    from turnout.gateway.app import App

GRACE_S = 10  # how long answers in progress may take once the server is told to stop
KEEP_ALIVE_S = 75
SWITCH_S = 0.0005  # how long the trace writer may keep the event loop waiting; Python's default is 5 ms
GC_OBJECTS = 20_000  # requests free their objects by reference count; the default of 700 walks them several times each

OnReady = Callable[[str], None]


def run(app: App, config: Config, *, workers: int = 1, on_ready: OnReady | None = None) -> None:
    """Serve until SIGINT or SIGTERM, in an event loop and a process of its own. Raises ConfigError, as `serve` does."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if importlib.util.find_spec("uvloop"):
        import uvloop

        factory = uvloop.new_event_loop
    gc.collect()
    gc.freeze()  # what start-up made lives for good; collections need not walk it again
    gc.set_threshold(GC_OBJECTS, 20, 50)
    sys.setswitchinterval(SWITCH_S)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(app, config, workers=workers, on_ready=on_ready))


async def serve(
    app: App,
    config: Config,
    *,
    workers: int = 1,
    on_ready: OnReady | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve in the running loop until SIGINT, SIGTERM or `stop`, then let answers in progress end for GRACE_S seconds.

    Port 0 takes a free one, which `on_ready` is told as part of the address (`http://127.0.0.1:8790`). The application
    is closed on the way out. Raises ConfigError for a port in use, naming its holder where the system tells, for an
    address that is not this machine's, and for more than one worker.
    """
    check_workers(workers)
    listener = bind(config.gateway.host, config.gateway.port)
    settings = uvicorn.Config(
        app,
        http="httptools" if importlib.util.find_spec("httptools") else "h11",
        lifespan="on",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    try:
        await _Server(settings, listener, on_ready, stop).serve(sockets=[listener])
    finally:
        listener.close()


def check(config: Config, workers: int = 1) -> None:
    """Raise now what `serve` would raise later, before anything slow is started: ConfigError, as in `serve`."""
    check_workers(workers)
    bind(config.gateway.host, config.gateway.port).close()


def check_workers(workers: int) -> None:
    """Raise ConfigError for more than one worker."""
    if workers != 1:
        raise ConfigError(
            f"`--workers` must be 1, got {workers}: conversations and budgets are kept in one process until shared "
            "state exists; start several gateways on different ports instead"
        )


class _Server(uvicorn.Server):
    """Tells when it is ready, and stops when it is told to."""

    def __init__(
        self, settings: uvicorn.Config, listener: socket.socket, on_ready: OnReady | None, stop: asyncio.Event | None
    ) -> None:
        super().__init__(settings)
        self._listener, self._on_ready, self._stop = listener, on_ready, stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready:
            self._on_ready(address(self._listener))

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or (self._stop is not None and self._stop.is_set())


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ConfigError(f"`gateway.host` {host!r} is not a known address: {error}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(place)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            held = holder(port)
            by = f" by {held}" if held else ""
            raise ConfigError(f"port {port} on {host} is in use{by}; choose another with `--port`") from error
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a listening socket, without a path."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def holder(port: int) -> str | None:
    """The process that listens on a TCP port, as `name (pid 123)`; None where psutil is absent or it may not tell."""
    if not importlib.util.find_spec("psutil"):
        return None
    import psutil

    try:
        connections: list[Any] = psutil.net_connections(kind="tcp")
        pids = [c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port]
        return next((f"{psutil.Process(pid).name()} (pid {pid})" for pid in pids if pid), None)
    except (psutil.Error, OSError):
        return None
