"""Fits of an evaluation, spread over processes; the results do not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.evaluation.protocol import Estimates, Method, Split
    from turnout.outcomes import OutcomeLog

WORTHWHILE = 30_000  # tested queries from which starting processes pays
MOST = 4  # each holds the log and its own features

_job: tuple[Sequence[Method], OutcomeLog] | None = None


def automatic(log: OutcomeLog, splits: Sequence[Split]) -> int:
    """How many processes suit the work and the machine."""
    if len(log) * len(splits) < WORTHWHILE:
        return 1
    return max(1, min(os.cpu_count() or 1, MOST, len(splits)))


def estimates(
    methods: Sequence[Method], log: OutcomeLog, splits: Sequence[Split], workers: int
) -> Iterator[list[Estimates]]:
    """What each method says for each split, in order. Several workers need methods that can be pickled."""
    if workers <= 1:
        for split in splits:
            yield _ask(methods, log, split)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # spawned, not forked: the log's threads do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (methods, log)) as pool:
        yield from pool.map(_work, splits)


def _ask(methods: Sequence[Method], log: OutcomeLog, split: Split) -> list[Estimates]:
    return [method(log, split.train_I, split.test_I, split.seed) for method in methods]


def _begin(methods: Sequence[Method], log: OutcomeLog) -> None:
    from threadpoolctl import threadpool_limits

    global _job  # noqa: PLW0603 - a worker process is told its job once, not with every split
    _job = (methods, log)
    threadpool_limits(1)  # the processes are the parallelism


def _work(split: Split) -> list[Estimates]:
    assert _job is not None
    return _ask(*_job, split)
