"""Starting and stopping: ports, addresses, keys, workers, signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import ConfigError
from turnout.gateway import server


def test_a_port_in_use_is_named_with_its_holder() -> None:
    pytest.importorskip("psutil")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} on 127.0.0.1 is in use by .+ \(pid {os.getpid()}\)"):
            server.bind("127.0.0.1", port)


def test_port_zero_takes_a_free_one() -> None:
    with server.bind("127.0.0.1", 0) as listener:
        assert server.address(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("host", ["no such host", "203.0.113.7"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=host):
        server.bind(host, 0)


async def test_more_than_one_worker_is_refused() -> None:
    with pytest.raises(ConfigError, match="`--workers` must be 1, got 2"):
        await server.serve(None, None, workers=2)  # type: ignore[arg-type]


PROGRAM = """
    import sys
    from pathlib import Path
    from turnout.config import Config, GatewayConfig
    from turnout.experts.http import HttpClient, HttpExpert
    from turnout.experts.pool import Pool
    from turnout.gateway import server
    from turnout.gateway.app import build
    from turnout.routers import Router
    from turnout.store.traces import TraceStore
    from turnout.types import Arm

    router, upstream, traces = Router.load(Path(sys.argv[1])), sys.argv[2], sys.argv[3]
    client = HttpClient()
    pool = Pool({name: HttpExpert(Arm(name), upstream, client=client) for name in ("sums", "names")}, (client,))
    config, store = Config(gateway=GatewayConfig(port=0)), TraceStore(traces)

    def ready(url):
        print(url, flush=True)

    try:
        server.run(build(config, pool, router.bind(pool.arms), store), config, on_ready=ready)
    except KeyboardInterrupt:
        pass
    finally:
        store.close()
    heavy = {"sklearn", "scipy", "polars", "torch", "pandas", "matplotlib", "xllamacpp"}
    print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_a_served_request_imports_nothing_heavy_and_a_signal_ends_the_service(
    router: Any, gateway: Any, tmp_path: Path
) -> None:
    router.save(tmp_path / "router")
    upstream, traces = gateway.upstreams["sums"].base_url, str(tmp_path / "traces.sqlite")
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "router"), upstream, traces]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        for stream in (b"false", b"true"):
            body = (
                b'{"model": "turnout/auto", "stream": %s, "messages": [{"role": "user", "content": "add 1"}]}' % stream
            )
            request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.status == 200
                assert answer.headers["x-turnout-expert"] in {"sums", "names"}
                answer.read()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert rest.strip() == "[]"
    assert process.returncode == 0
