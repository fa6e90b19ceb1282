"""Experts that run on this machine: one child process serves every embedded model over HTTP on the loopback address."""

from __future__ import annotations

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

from turnout.errors import ExpertError, ExpertUnreachable, ModelError
from turnout.experts.http import HttpClient, HttpExpert
from turnout.types import Arm, Call, Reply

Ready = Callable[[str, float], None]
START_S = 180.0
RESTART_S = 10.0  # a process that ends sooner after its start is left alone for so long
LOG_BYTES = 1 << 20


class LocalProcess:
    """The child: its start, its addresses, and why it ended.

    `files` maps model names to weights, `contexts` to tokens per slot; each model answers `slots` requests at once on
    `threads` threads. Its standard error goes to `log`. A random key keeps other users of the machine out.

    Limits: one process for all models, so a crash takes them all; it is started again at the next call.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        *,
        contexts: Mapping[str, int],
        log: Path,
        slots: int = 4,
        threads: int | None = None,
    ) -> None:
        self.files, self.contexts, self.log, self.slots = dict(files), dict(contexts), log, slots
        self.threads = threads or default_threads()
        self.key = secrets.token_urlsafe(24)
        self.addresses: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._started = float("-inf")
        self._log_start = 0
        self._starting = threading.Lock()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, ready: Ready | None = None, timeout_s: float = START_S) -> None:
        """Start the child and wait until every model answers. Raises ModelError with the end of its log.

        `ready` is told each model's name and the seconds since the start. Blocks: call it in a thread of a server.
        """
        with self._starting:
            self._start(ready or (lambda *_: None), timeout_s)

    def restart_soon(self) -> None:
        """Start an ended child again in the background, unless that was tried a moment ago."""
        if time.monotonic() - self._started > RESTART_S and not self._starting.locked():
            threading.Thread(target=self._restart, name="restart of the local process", daemon=True).start()

    def failure(self) -> str | None:
        """None while the child runs, else how it ended and the last lines of its log."""
        if self._process is None:
            return "was not started"
        status = self._process.poll()
        if status is None:
            return None
        return f"ended with {_status(status)}; {self._log_end()}"

    def close(self) -> None:
        """End the child and wait for it."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None

    def _start(self, ready: Ready, timeout_s: float) -> None:
        self.close()
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
        threading.Thread(target=_read_lines, args=(self._process.stdout, lines), daemon=True).start()
        self._order()
        for _ in self.files:
            answer = self._answer(lines, self._started + timeout_s - time.monotonic(), timeout_s)
            self.addresses[answer["model"]] = answer["address"] + "/v1"
            ready(answer["model"], time.monotonic() - self._started)

    def _order(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        models = [{"name": n, "path": str(p), "context": self.contexts[n]} for n, p in self.files.items()]
        orders = {"models": models, "key": self.key, "slots": self.slots, "threads": self.threads}
        try:
            self._process.stdin.write(json.dumps(orders) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it ended at once; waiting for its answer tells why

    def _answer(self, lines: queue.Queue[str], left_s: float, timeout_s: float) -> dict[str, str]:
        assert self._process is not None
        try:
            line = lines.get(timeout=max(0.0, left_s))
        except queue.Empty as error:
            self.close()
            message = f"the local model process was not ready within {timeout_s:g} s; {self._log_end()}"
            raise ModelError(message) from error
        if not line:
            self._process.wait()
            raise ModelError(f"the local model process {self.failure()}")
        answer: dict[str, str] = json.loads(line)
        if "error" in answer:
            self.close()
            hint = "; install it with `pip install 'turnout[local]'`" if "xllamacpp" in answer["error"] else ""
            raise ModelError(f"cannot serve {answer['model']}: {answer['error']}{hint}; {self._log_end()}")
        return answer

    def _restart(self) -> None:
        try:
            self.start()
        except ModelError:
            return  # `failure` tells every caller why

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
        except ExpertError as error:
            failure = self.process.failure()
            if failure is None:
                raise
            self.process.restart_soon()
            message = f"expert {self.arm.id!r} is unreachable: the local model process {failure}"
            raise ExpertUnreachable(message, expert=self.arm.id) from error


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
