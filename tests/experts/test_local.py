"""The embedded experts in their real process: answers, failures, and that nothing outlives its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from turnout.config import Config
from turnout.errors import ExpertUnreachable, ModelError
from turnout.experts import embedded, local, pool
from turnout.experts.http import HttpClient
from turnout.experts.local import LocalExpert, LocalProcess
from turnout.experts.patch import patch
from turnout.experts.pool import Pool
from turnout.types import Call, Request, Usage

SMALLEST = "smollm2-135m"
PARENT = """
import sys, time
from pathlib import Path
from turnout.experts.local import LocalProcess

process = LocalProcess({"small": Path(sys.argv[1])}, contexts={"small": 256}, log=Path(sys.argv[2]), slots=1, threads=1)
if sys.argv[3] == "loading":
    import threading
    threading.Thread(target=process.start, daemon=True).start()
    while process.pid is None:
        time.sleep(0.01)
else:
    process.start()
print(process.pid, flush=True)
time.sleep(600)
"""


def call(expert: LocalExpert, question: str, *, stream: bool = False, **fields: Any) -> Call:
    document = {"model": "turnout/auto", "messages": [{"role": "user", "content": question}], "stream": stream}
    body = json.dumps({**document, "max_tokens": 24, "temperature": 0, **fields}).encode()
    arm = expert.arm
    body = patch(body, model=arm.model, suffix=arm.how.suffix, fields=arm.how.body, include_usage=stream)
    return Call(body, stream=stream)


async def answer(expert: LocalExpert, question: str, **options: Any) -> tuple[int, bytes, Usage]:
    reply = await expert.call(call(expert, question, **options))
    body = b"".join([chunk async for chunk in reply.body])
    await reply.aclose()
    return reply.status, body, reply.settle()


def experts(process: LocalProcess, client: HttpClient) -> list[LocalExpert]:
    return [LocalExpert(arm, process, client) for arm in embedded.arms([SMALLEST], 1024)]


@pytest.mark.e2e
async def test_a_real_question_is_answered_by_both_arms(process: LocalProcess) -> None:
    client = HttpClient(keepalive_s=0, proxies=False)
    for expert in experts(process, client):
        status, body, usage = await answer(expert, "What is the capital of France?")
        assert status == 200
        assert json.loads(body)["choices"][0]["message"]["content"].strip()
        assert usage.prompt_tokens
        assert usage.completion_tokens
        assert usage.completion_tokens <= 24
    await client.aclose()


@pytest.mark.e2e
async def test_steps_asks_more_than_direct(process: LocalProcess) -> None:
    client = HttpClient(keepalive_s=0, proxies=False)
    tokens = [(await answer(e, "2+2?", max_tokens=1))[2].prompt_tokens for e in experts(process, client)]
    await client.aclose()
    assert tokens[0] is not None
    assert tokens[1] is not None
    assert tokens[1] > tokens[0] + 10


@pytest.mark.e2e
async def test_an_answer_without_a_cap_ends(process: LocalProcess) -> None:
    client = HttpClient(keepalive_s=0, proxies=False)
    _, body, usage = await answer(experts(process, client)[0], "Count.", max_tokens=None, ignore_eos=True)
    await client.aclose()
    assert usage.completion_tokens == process.answer == 40
    assert json.loads(body)["choices"][0]["finish_reason"] == "length"


@pytest.mark.e2e
async def test_streams_at_once_in_their_slots(process: LocalProcess) -> None:
    client = HttpClient(keepalive_s=0, proxies=False)
    direct = experts(process, client)[0]
    answers = await asyncio.gather(*(answer(direct, f"Name {n} animals.", stream=True) for n in range(2, 6)))
    await client.aclose()
    for status, body, usage in answers:
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n")
        assert usage.completion_tokens


@pytest.mark.e2e
async def test_leaving_stops_the_answer(process: LocalProcess) -> None:
    client = HttpClient(keepalive_s=0, proxies=False)
    direct = experts(process, client)[0]
    replies = [
        await direct.call(call(direct, "Tell a story.", stream=True, max_tokens=900, ignore_eos=True)) for _ in range(2)
    ]
    for reply in replies:
        assert await anext(reply.body)
        await reply.aclose()
    async with asyncio.timeout(60):  # both slots are free again long before 900 tokens would be through
        status, _, _ = await answer(direct, "2+2?", max_tokens=1)
    await client.aclose()
    assert status == 200


@pytest.mark.e2e
def test_the_key_keeps_others_out(process: LocalProcess) -> None:
    request = urllib.request.Request(
        process.addresses[SMALLEST] + "/chat/completions",
        data=b'{"messages":[]}',
        headers={"Authorization": "Bearer x"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 401
    refused.value.close()
    assert process.addresses[SMALLEST].startswith("http://127.0.0.1:")
    assert process.pid is not None
    assert process.key not in " ".join(psutil.Process(process.pid).cmdline())


@pytest.mark.e2e
async def test_a_crash_is_told_and_mended(small_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "RESTART_S", 0.0)
    opened = await asyncio.to_thread(pool.build, small_config)
    process, expert = opened.process, opened.experts[SMALLEST]
    try:
        assert process is not None
        assert process.pid is not None
        assert isinstance(expert, LocalExpert)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ExpertUnreachable, match=r"the local model process ended with signal 9"):
            await answer(expert, "2+2?", max_tokens=1)
        async with asyncio.timeout(120):
            status = await eventually(expert)
        pid = process.pid
    finally:
        await opened.aclose()
    assert status == 200
    assert pid is not None
    assert not psutil.pid_exists(pid)


async def eventually(expert: LocalExpert) -> int:
    """The first status of an expert that is being mended."""
    while True:
        try:
            return (await answer(expert, "2+2?", max_tokens=1))[0]
        except ExpertUnreachable:
            await asyncio.sleep(0.2)


@pytest.mark.e2e
@pytest.mark.parametrize("moment", ["loading", "ready"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_the_child_dies_with_its_parent(small_home: Path, tmp_path: Path, moment: str, number: signal.Signals) -> None:
    weights = next((small_home / "models").glob("SmolLM2*.gguf"))
    arguments = [sys.executable, "-c", PARENT, str(weights), str(tmp_path / "log"), moment]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(number)
        parent.wait()
    gone, alive = psutil.wait_procs([child], timeout=20)
    for left in alive:
        left.kill()
    assert gone


def test_damaged_weights_are_told_with_the_log(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    process = LocalProcess({"bad": tmp_path / "bad.gguf"}, contexts={"bad": 64}, log=tmp_path / "logs" / "local.log")
    with pytest.raises(ModelError, match="cannot serve bad: Failed to init server") as raised:
        process.start()
    assert str(tmp_path / "logs" / "local.log") in str(raised.value)
    assert "failed to load model" in str(raised.value)
    assert process.pid is None


def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    process = LocalProcess({"x": tmp_path / "none"}, contexts={"x": 64}, log=tmp_path / "log")
    with pytest.raises(ModelError, match="not ready within 0 s"):
        process.start(timeout_s=0.0)
    assert process.pid is None


def test_a_process_that_was_not_started(tmp_path: Path) -> None:
    process = LocalProcess({}, contexts={}, log=tmp_path / "log")
    assert process.failure() == "was not started"
    process.close()
    assert process.failure() == "was closed"


def test_the_log_does_not_grow_without_end(tmp_path: Path) -> None:
    log = tmp_path / "local.log"
    log.write_bytes(b"x" * (local.LOG_BYTES + 1))
    process = LocalProcess({}, contexts={}, log=log)
    process.start()
    process.close()
    assert log.stat().st_size < local.LOG_BYTES
    assert (tmp_path / "local.old.log").exists()


def test_steps_arms_take_no_features() -> None:
    direct, steps = embedded.arms(["qwen2.5-coder-0.5b"], 4096)
    for need in ("tools", "response_format", "logprobs", "prefill"):
        request = Request("hi", needs=frozenset({need}))
        assert direct.limits.refusal(request) is None
        assert steps.limits.refusal(request) == f"no {need}"
    assert direct.limits.refusal(Request("hi", needs=frozenset({"images"}))) == "no images"
    assert embedded.arms([SMALLEST], 4096)[0].limits.refusal(Request("hi", needs=frozenset({"tools"}))) == "no tools"
    assert direct.how.suffix == ""
    assert direct.how.body == {}


def test_prices_are_nominal_and_follow_the_parameters() -> None:
    small, large = embedded.arms(["smollm2-135m", "qwen2.5-coder-1.5b"], 99_999)[::2]
    assert small.price.nominal
    assert large.price.output / small.price.output == pytest.approx(1.544 / 0.135)
    assert (small.limits.context, large.limits.context) == (8192, 32768)


def test_pool_closes_without_a_loop() -> None:
    started = time.monotonic()
    Pool({}).close()
    assert time.monotonic() - started < 5
