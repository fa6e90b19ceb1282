"""The child process that serves embedded models: `python -m turnout.experts.local_process`. Started by `local.py`.

It reads one JSON line with its orders from standard input, which keeps the key off the command line, answers with one
JSON line per model on standard output, and ends when standard input does: the system closes that pipe whenever the
parent ends, by kill -9 too, on every platform. This module is the only home of xllamacpp.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from typing import Any, TextIO


def main() -> None:
    """Serve until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when to end
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the library writes its own lines to standard output
    orders = json.loads(sys.stdin.readline())
    _end_with_parent()
    servers = []
    for model in orders["models"]:
        try:
            servers.append(_serve(model, orders))
        except (RuntimeError, ImportError) as error:
            _answer(answers, {"model": model["name"], "error": str(error)})
            os._exit(1)  # the library's threads would keep a normal exit waiting
        _answer(answers, {"model": model["name"], "address": servers[-1].listening_address})
    threading.Event().wait()


def _end_with_parent() -> None:
    """End when standard input does: by a thread, and on Linux by a signal too.

    The library holds the interpreter's lock while it loads a model, which keeps the thread waiting for seconds. A
    signal whose default is to end the process needs no lock: after the orders the pipe's only event is its end.
    """
    threading.Thread(target=_wait_for_end, daemon=True).start()
    if sys.platform == "linux":
        import fcntl

        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([0], [], [], 0)[0]:  # it ended before the signal was asked for
            os._exit(0)


def _wait_for_end() -> None:
    while sys.stdin.readline():
        continue
    os._exit(0)


def _answer(answers: TextIO, line: dict[str, str]) -> None:
    answers.write(json.dumps(line) + "\n")
    answers.flush()


def _serve(model: dict[str, Any], orders: dict[str, Any]) -> Any:
    """One server with its slots; returns once it answers. Raises RuntimeError; the reason is on standard error."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model["path"]
    params.model_alias = {model["name"]}
    params.api_keys = [orders["key"]]
    params.port = 0
    params.n_parallel = orders["slots"]
    params.n_ctx = model["context"] * orders["slots"]
    params.n_predict = orders["answer"]
    params.n_threads_http = orders["slots"] + 4
    params.n_gpu_layers = 0
    params.verbosity = 1  # errors
    for pool in (params.cpuparams, params.cpuparams_batch):
        pool.n_threads = orders["threads"]
    for name, value in _OPTIONAL.items():
        if hasattr(params, name):  # names differ between releases
            setattr(params, name, value)
    return xllamacpp.Server(params)


_OPTIONAL: dict[str, Any] = {
    "hostname": "127.0.0.1",
    "hostnames": ["127.0.0.1"],
    "ui": False,
    "webui": False,
    "endpoint_slots": False,
    "cache_ram_mib": 0,  # prompts of idle slots are not kept twice
    "fit_params": False,  # loading twice to see whether memory suffices takes half of the start
}

if __name__ == "__main__":
    main()
