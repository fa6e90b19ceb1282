"""A lock between processes on one file. The system releases it when its holder ends, also on kill -9."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def hold(file: Path, waiting: Callable[[], None], poll_s: float = 0.2) -> Iterator[None]:
    """Hold the lock; while another process has it, call `waiting` every `poll_s` seconds.

    Limits: file locks on network file systems may not hold across machines.
    """
    with file.open("ab") as handle:
        while not _try(handle):
            waiting()
            time.sleep(poll_s)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try(handle: BinaryIO) -> bool:
        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try(handle: BinaryIO) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
