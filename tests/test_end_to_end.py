"""From nothing to a routed answer of a real model, its trace, feedback, an exported log and a router fitted on it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

pytestmark = pytest.mark.e2e
EXPERTS = {"smollm2-135m", "smollm2-135m+steps"}
START_S = 600  # the first run downloads 90 MB


@dataclass
class Gateway:
    process: subprocess.Popen[str]
    url: str
    said: list[str]

    @cached_property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)


def turnout(*arguments: str, **env: str) -> list[str]:
    return [sys.executable, "-m", "turnout", *arguments]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own that shares the weights of the real one, so that they are downloaded once per machine."""
    from turnout.config import home as real_home

    folder = tmp_path_factory.mktemp("home")
    weights = real_home() / "models"
    weights.mkdir(parents=True, exist_ok=True)
    (folder / "models").symlink_to(weights, target_is_directory=True)
    return folder


@contextmanager
def running(home: Path, *flags: str) -> Iterator[Gateway]:
    """A gateway that is ready; stopped as Ctrl-C stops it, unless the test has ended it."""
    with subprocess.Popen(
        turnout("up", "--port", "0", "--experts", "smollm2-135m", *flags),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TURNOUT_HOME": str(home), "PYTHONUNBUFFERED": "1"},
    ) as process:
        said: list[str] = []
        found = threading.Event()
        reader = threading.Thread(target=listen, args=(process, said, found))
        reader.start()
        found.wait(START_S)
        match = re.search(r"ready at (http://[\d.:]+)", "".join(said))
        try:
            assert match, "".join(said)
            made = Gateway(process, match[1], said)
            with made.client:
                yield made
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            reader.join(60)
            if reader.is_alive():
                process.kill()


def listen(process: subprocess.Popen[str], said: list[str], found: threading.Event) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if "Ctrl-C" in line:
            found.set()
    found.set()


@pytest.fixture(scope="module")
def gateway(home: Path) -> Iterator[Gateway]:
    with running(home) as made:
        yield made


def run(home: Path, *arguments: str) -> Any:
    shown = subprocess.run(
        turnout(*arguments), capture_output=True, text=True, env={**os.environ, "TURNOUT_HOME": str(home)}, check=False
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_the_banner_tells_what_to_do_next(gateway: Gateway) -> None:
    banner = "".join(gateway.said)
    assert f"curl -s {gateway.url}/v1/chat/completions" in banner
    assert f'OpenAI(base_url="{gateway.url}/v1"' in banner
    assert "traces.sqlite" in banner


def test_the_curl_line_of_the_banner_works_as_printed(gateway: Gateway) -> None:
    banner = "".join(gateway.said)
    line = banner[banner.index("curl -s") : banner.index("from openai")]
    answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=300)
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"]


def test_auto_is_answered_by_an_expert_that_the_headers_name(gateway: Gateway) -> None:
    raw = gateway.client.chat.completions.with_raw_response.create(
        model="turnout/auto", messages=[{"role": "user", "content": "What is 2 + 2?"}], max_tokens=40
    )
    assert raw.headers["x-turnout-expert"] in EXPERTS
    assert 0 <= float(raw.headers["x-turnout-quality"]) <= 1
    assert float(raw.headers["x-turnout-cost"]) > 0
    assert raw.headers["x-turnout-trace"]
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_streams_and_forced_experts(gateway: Gateway) -> None:
    client = gateway.client
    assert {model.id for model in client.models.list()} == {"turnout/auto", *EXPERTS}
    with client.chat.completions.with_streaming_response.create(
        model="smollm2-135m+steps", messages=[{"role": "user", "content": "Say hi."}], max_tokens=24, stream=True
    ) as raw:
        assert raw.headers["x-turnout-expert"] == "smollm2-135m+steps"
        chunks = list(raw.parse())
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert not any(chunk.usage for chunk in chunks)  # it was not asked for, so it is not shown
    with pytest.raises(openai.NotFoundError, match="smollm2-135m"):
        client.chat.completions.create(model="smollm2", messages=[{"role": "user", "content": "x"}])


def test_traces_become_a_log_and_the_log_a_router(home: Path, tmp_path: Path) -> None:
    with running(home, "--explore", "0.5") as exploring:
        for i in range(24):
            raw = exploring.client.chat.completions.with_raw_response.create(
                model="turnout/auto", messages=[{"role": "user", "content": f"What is {i} plus {3 * i}?"}], max_tokens=4
            )
            feed_back(exploring, raw.headers["x-turnout-trace"], i % 2)
    shown = run(home, "traces", "show", raw.headers["x-turnout-trace"], "--json")
    assert shown["score"] == 1
    exported = run(home, "traces", "export", str(tmp_path / "log"), "--json")
    described = run(home, "log", "describe", str(tmp_path / "log"), "--json")
    assert (exported["outcomes"], described["queries"]) == (24, 24)
    fitted = run(home, "fit", str(tmp_path / "log"), "-o", str(tmp_path / "router"), "--json")
    assert fitted["guard"]["enabled"]
    explained = run(home, "explain", str(tmp_path / "router"), "What is 7 plus 8?", "--json")
    assert explained["expert"] in EXPERTS
    with running(home, "--router", str(tmp_path / "router")) as again:
        assert again.client.models.list().data


def feed_back(gateway: Gateway, trace: str, score: float) -> None:
    body = json.dumps({"trace": trace, "score": score, "label": "test"}).encode()
    request = urllib.request.Request(f"{gateway.url}/v1/feedback", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answered:
        assert answered.status == 200


def test_children_die_with_a_killed_parent(home: Path) -> None:
    with running(home) as made:
        children = psutil.Process(made.process.pid).children(recursive=True)
        assert children
        made.process.kill()
        gone, alive = psutil.wait_procs(children, timeout=15)
    assert not alive
    assert len(gone) == len(children)


def test_a_port_in_use_names_its_holder(gateway: Gateway, home: Path) -> None:
    port = gateway.url.rpartition(":")[2]
    shown = subprocess.run(
        turnout("up", "--port", port, "--experts", "smollm2-135m"),
        capture_output=True,
        text=True,
        env={**os.environ, "TURNOUT_HOME": str(home)},
        timeout=60,
        check=False,
    )
    assert shown.returncode == 2
    assert f"pid {gateway.process.pid}" in shown.stderr


def test_ctrl_c_stops_everything(home: Path) -> None:
    with running(home) as made:
        children = psutil.Process(made.process.pid).children(recursive=True)
        made.process.send_signal(signal.SIGINT)
        assert made.process.wait(30) in (0, 130, -signal.SIGINT)
        assert psutil.wait_procs(children, timeout=15)[1] == []
    assert "Traceback" not in "".join(made.said)
