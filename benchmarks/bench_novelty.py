"""What it costs on known kinds of queries to leave unusual ones to the best single expert, and saves on unknown ones.

    TURNOUT_DATA=DIR python benchmarks/bench_novelty.py [--table nine_llm] [--seeds 3] [--first 100]

Known kinds: five folds per seed, near-duplicates together. Unknown kinds: each task of the table left out in turn.
Figures are differences in score to the best single expert of the training side, by the default router. A router is
fitted once per split, its guard's verdict taken with no query held back, and asked again with each share.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from turnout.evaluation import datasets
from turnout.evaluation.protocol import Split, folds, held_out
from turnout.evaluation.tables import Table
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.novelty import Novelty

SHARES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)


def gains(log: OutcomeLog, split: Split) -> np.ndarray:
    """Gain per share and tested query, shape (shares, N)."""
    train, test = log.select(split.train_I), log.select(split.test_I)
    router = Router.fit(train, novelty=0.0)
    read, asked = router.features(train)[0], router.features(test)[0]
    score_NE, rows = test.matrix(), np.arange(len(test))
    best_N = score_NE[:, int(train.matrix().mean(axis=0).argmax())]
    found = []
    for share in SHARES:
        router.guard = replace(router.guard, novelty=Novelty.learn(read, share))
        found.append(score_NE[rows, router.choose(asked)] - best_N)
    return np.array(found)


def show(name: str, values: Sequence[float]) -> None:
    """One row of the table."""
    print(f"{name:40s}" + "".join(f"{value:+9.4f}" for value in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="nine_llm", help="one whose queries have task names")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=100, help="the first seed; 0 to 4 are those of the bars")
    options = parser.parse_args()
    log = datasets.load(options.table)
    if not log.tasks:
        parser.error(f"{options.table} has no task names")
    tasks = log.tasks
    table = Table.of(log)
    print(f"{'share held back':40s}" + "".join(f"{share:9.2f}" for share in SHARES))
    known = [gains(log, split) for split in folds(table, 5, range(options.first, options.first + options.seeds))]
    show("known kinds", np.concatenate(known, axis=1).mean(axis=1))
    unknown = []
    for split in held_out(table, tasks):
        unknown.append(gains(log, split).mean(axis=1))
        show(f"  {tasks[split.test_I[0]]}, unknown", unknown[-1])
    show("unknown kinds, mean over tasks", np.mean(unknown, axis=0))
    show("unknown kinds, worst task", np.min(unknown, axis=0))


if __name__ == "__main__":
    main()
