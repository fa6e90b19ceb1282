"""Load and group a log of 111,000 queries × 9 experts: seconds and peak memory, each measured in a fresh process.

    python benchmarks/bench_log.py [--queries 111000] [--experts 9] [--templates 3000] [--folder DIR]

The prompts are sentences drawn from the standard library's own documentation: real English with the word frequencies
of technical text, lengths spread like those of real prompts (median 300 characters, a long tail), 1 % exact repeats,
4 % edited copies, and a family of few-shot prompts that share a long head. Bars: load 5 s, grouping 60 s, 2 GB.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

MODULES = """
argparse ast asyncio calendar collections concurrent.futures configparser csv datetime decimal difflib doctest
email enum fractions functools gettext heapq html http.client http.server imaplib inspect io ipaddress json
locale logging mailbox mimetypes multiprocessing optparse os pathlib pdb pickle pkgutil platform plistlib
pprint pydoc random re sched secrets selectors shutil smtplib socket sqlite3 ssl statistics string subprocess
tarfile tempfile textwrap threading tokenize traceback turtle typing unittest urllib.parse urllib.request uuid
warnings wave weakref zipfile
"""


def sentences() -> list[str]:
    """Sentences of the standard library's documentation and comments."""
    found: set[str] = set()
    for name in MODULES.split():
        text = " ".join(re.findall(r'"""(.*?)"""', inspect.getsource(importlib.import_module(name)), re.DOTALL))
        found.update(s.strip() for s in re.split(r"(?<=[.?!:])\s+|\n\n", text) if 20 <= len(s) <= 300)
    return sorted(found)


def prompts(count: int, templates: int, rng: random.Random) -> list[str]:
    """Realistic prompts, some repeated, some edited, some sharing a head."""
    pool = sentences()
    made: list[str] = []
    while len(made) < count - templates:
        draw = rng.random()
        if made and draw < 0.05:
            words = rng.choice(made).split(" ")
            if draw > 0.01:
                words[rng.randrange(len(words))] = rng.choice(rng.choice(pool).split())
            made.append(" ".join(words))
            continue
        wanted, text = rng.lognormvariate(5.7, 0.7), rng.choice(pool)
        while len(text) < wanted:
            words = rng.choice(pool).split()
            for _ in range(rng.randrange(3)):  # sentences themselves repeat; a few changed words make them fresh
                words[rng.randrange(len(words))] = rng.choice(rng.choice(pool).split())
            text += " " + " ".join(words)
        made.append(text)
    head = "\n".join(f"Q: {rng.choice(pool)} A: {rng.choice(pool)}" for _ in range(10))
    made += [f"{head}\nQ: {rng.choice(pool)} {rng.choice(pool)} A:" for _ in range(count - len(made))]
    rng.shuffle(made)
    return made


def make(folder: Path, queries: int, experts: int, templates: int) -> float:
    """Write the log; returns the mean prompt length in characters."""
    import numpy as np

    from turnout import OutcomeLog

    texts = prompts(queries, templates, random.Random(0))
    rng = np.random.default_rng(0)
    scores_NE = rng.integers(0, 2, (queries, experts)).astype(float)
    cost_NE = rng.lognormal(-8, 1, (queries, experts))
    tasks = [f"task-{n % 14}" for n in range(queries)]
    names = [f"expert-{e}" for e in range(experts)]
    log = OutcomeLog.from_arrays(texts, names, scores_NE, cost_NE=cost_NE, tasks=tasks)
    log.write(folder)
    log.write(folder / "long.parquet")
    return sum(map(len, texts)) / queries


def measure(path: str, group: bool) -> dict[str, object]:
    """Load a log, and group it; run in its own process so that peak memory is its own."""
    from turnout import OutcomeLog
    from turnout.outcomes import describe

    wall, cpu = time.perf_counter(), time.process_time()
    log = OutcomeLog.read(path)
    log.matrix()
    result: dict[str, object] = {
        "load_s": _since(wall, time.perf_counter),
        "load_cpu_s": _since(cpu, time.process_time),
    }
    if group:
        wall, cpu = time.perf_counter(), time.process_time()
        log.groups()
        result |= {"grouping_s": _since(wall, time.perf_counter), "grouping_cpu_s": _since(cpu, time.process_time)}
        result |= {key: value for key, value in describe(log)["duplicates"].items() if key != "largest_prompt"}
    unit = 1 if sys.platform == "darwin" else 1024
    return result | {"peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 2)}


def _since(start: float, clock: Callable[[], float]) -> float:
    return round(clock() - start, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=111_000)
    parser.add_argument("--experts", type=int, default=9)
    parser.add_argument("--templates", type=int, default=3000, help="prompts that share one long head")
    parser.add_argument("--folder", help="measure this log instead of a made one")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--group", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(options.measure, options.group)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder or scratch)
        results: dict[str, object] = {}
        if not options.folder:
            length = make(folder, options.queries, options.experts, options.templates)
            results["log"] = {"queries": options.queries, "experts": options.experts, "mean_characters": round(length)}
        runs = {"folder": (folder, True)} | ({} if options.folder else {"long file": (folder / "long.parquet", False)})
        for name, (path, group) in runs.items():
            command = [sys.executable, __file__, "--measure", str(path), *(["--group"] if group else [])]
            results[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        sys.stdout.write(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
