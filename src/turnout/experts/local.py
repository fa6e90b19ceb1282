"""Experts that run on this machine: one child process serves every embedded model over HTTP on the loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from turnout.errors import ExpertError, ExpertTimeout, ExpertUnreachable, ModelError
from turnout.experts.http import HttpClient, HttpExpert
from turnout.types import Arm, Call, Reply

Ready = Callable[[str, float], None]
START_S = 180.0
RESTART_S = 10.0  # a process that ends sooner after its start is left alone for so long
LOG_BYTES = 1 << 20


class LocalProcess:
    """The child: its start, its addresses, and why it ended.

    `files` maps model names to weights, `contexts` to tokens per slot; each model answers `slots` requests at once on
    `threads` threads, in at most `answer` tokens where a request names no cap. Its standard error goes to `log`. A
    random key keeps other users of the machine out.

    Limits: one process for all models, so a crash takes them all; it is started again at the next call.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        *,
        contexts: Mapping[str, int],
        log: Path,
        slots: int = 4,
        answer: int = 1024,
        threads: int | None = None,
    ) -> None:
        self.files, self.contexts, self.log, self.slots = dict(files), dict(contexts), log, slots
        self.answer, self.threads = answer, threads or default_threads()
        self.key = secrets.token_urlsafe(24)
        self.addresses: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._started = float("-inf")
        self._log_start = 0
        self._starting = threading.Lock()
        self._is_closed = False
        self._ended = "was not started"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, ready: Ready | None = None, timeout_s: float = START_S) -> None:
        """Start the child and wait until every model answers. Raises ModelError with the end of its log.

        `ready` is told each model's name and the seconds since the start. Blocks: call it in a thread of a server.
        """
        self._is_closed = False
        with self._starting:
            self._start(ready or (lambda *_: None), timeout_s)

    def restart_soon(self) -> None:
        """Start an ended child again in the background, unless that was tried a moment ago."""
        if time.monotonic() - self._started > RESTART_S and not self._starting.locked():
            threading.Thread(target=self._restart, name="restart of the local process", daemon=True).start()

    def failure(self) -> str | None:
        """None while the child runs, else how it ended and the last lines of its log."""
        process = self._process
        if process is None:
            return self._ended
        status = process.poll()
        if status is None:
            return None
        return f"ended with {_status(status)}; {self._log_end()}"

    def close(self) -> None:
        """End the child, also one that is being started, and wait for it."""
        self._is_closed = True
        self._end("was closed")

    def _end(self, why: str) -> None:
        process, self._process, self._ended = self._process, None, why
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _start(self, ready: Ready, timeout_s: float) -> None:
        self._end("is starting")
        self._started = time.monotonic()
        lines: queue.Queue[str] = queue.Queue()
        with self._open_log() as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "turnout.experts.local_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )
        process = self._process
        threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
        self._order(process)
        for _ in self.files:
            answer = self._answer(process, lines, self._started + timeout_s - time.monotonic(), timeout_s)
            self.addresses[answer["model"]] = answer["address"] + "/v1"
            ready(answer["model"], time.monotonic() - self._started)

    def _order(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        models = [{"name": n, "path": str(p), "context": self.contexts[n]} for n, p in self.files.items()]
        orders = {
            "models": models,
            "key": self.key,
            "slots": self.slots,
            "answer": self.answer,
            "threads": self.threads,
        }
        try:
            process.stdin.write(json.dumps(orders) + "\n")
            process.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # it ended, or was closed, at once; waiting for its answer tells why

    def _answer(
        self, process: subprocess.Popen[str], lines: queue.Queue[str], left_s: float, timeout_s: float
    ) -> dict[str, str]:
        """The child's next line. Raises ModelError, after which no child is left."""
        try:
            line = lines.get(timeout=max(0.0, left_s))
        except queue.Empty:
            raise self._failed(f"was not ready within {timeout_s:g} s; {self._log_end()}") from None
        if not line or self._is_closed:
            status = "was closed" if self._is_closed else f"ended with {_status(process.wait())}; {self._log_end()}"
            raise self._failed(status)
        answer: dict[str, str] = json.loads(line)
        if "error" in answer:
            hint = "; install it with `pip install 'turnout[local]'`" if "xllamacpp" in answer["error"] else ""
            raise self._failed(f"cannot serve {answer['model']}: {answer['error']}{hint}; {self._log_end()}")
        return answer

    def _failed(self, how: str) -> ModelError:
        self._end(how)
        return ModelError(f"the local model process {how}")

    def _restart(self) -> None:
        with self._starting, contextlib.suppress(ModelError):  # `failure` tells every caller why
            if not self._is_closed:
                self._start(lambda *_: None, START_S)

    def _open_log(self) -> IO[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.is_file() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        handle = self.log.open("ab")
        self._log_start = handle.tell()
        return handle

    def _log_end(self, lines: int = 3) -> str:
        """The last lines that the child wrote."""
        try:
            with self.log.open("rb") as handle:
                handle.seek(self._log_start)
                written = handle.read()[-4096:].decode("utf-8", errors="replace")
        except OSError:
            return f"there is no log at {self.log}"
        last = [line.strip() for line in written.splitlines() if line.strip()][-lines:]
        return f"{self.log} ends: {' | '.join(last)}" if last else f"{self.log} says nothing"


class LocalExpert(HttpExpert):
    """An arm of an embedded model. Where a call fails because the process ended, the error says so."""

    def __init__(self, arm: Arm, process: LocalProcess, client: HttpClient) -> None:
        super().__init__(arm, process.addresses[arm.model], key=process.key, client=client)
        self.process = process

    async def call(self, call: Call) -> Reply:
        """Send the call; see `HttpExpert.call`. An ended process is started again in the background."""
        self._move(self.process.addresses[self.arm.model])
        try:
            return await super().call(call)
        except ExpertTimeout:
            raise
        except ExpertError as error:
            failure = await self._failure_soon()
            if failure is None:
                raise
            self.process.restart_soon()
            message = f"expert {self.arm.id!r} is unreachable: the local model process {failure}"
            raise ExpertUnreachable(message, expert=self.arm.id) from error

    async def _failure_soon(self) -> str | None:
        """`LocalProcess.failure`; a killed process closes its connections a moment before its status is known."""
        for _ in range(10):
            if failure := self.process.failure():
                return failure
            await asyncio.sleep(0.02)
        return None


def default_threads() -> int:
    """Threads per model: all cores but one, at most 8.

    The threads of one model wait for each other at every layer by spinning, so a core that something else uses slows
    all of them: two threads on two busy cores were measured ten times slower than one.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(8, cores - 1))


def _read_lines(stream: IO[str], lines: queue.Queue[str]) -> None:
    """Lines to the queue; an empty one says that the stream ended."""
    with contextlib.suppress(ValueError):  # closed while waiting
        for line in stream:
            lines.put(line)
    lines.put("")


def _status(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"
