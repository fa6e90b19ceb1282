"""One decision and a batch of decisions, for every estimator: a 200-character prompt, nine experts, one core.

    OMP_NUM_THREADS=1 python benchmarks/bench_decision.py [--fit 3000] [--full-fit]

Routers are fitted on made-up questions (English words, nine experts), the kNN one on 10,000 rows; what is timed is
`Bound.decide` with nothing left out: signals, estimates, calibration, costs, constraints, the Decision. Bars: 200 µs
median for the parametric methods, 400 µs for kNN, 5,000 prompts/s in batches. `--full-fit` also times a whole fit on
10,000 queries (bar 30 s on two cores). aurelio's semantic-router runs beside, where it is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one core is what is claimed

import numpy as np

from turnout import OutcomeLog, Request, Router, registry
from turnout.estimators import Estimator

KINDS = {
    "sum": "A shop sells {a} boxes for {n} dollars each. If {b} more arrive on {c}, how much is it worth?",
    "code": "Write a Python function that takes a list of {a} and returns the {n} largest {b}, sorted by {c}.",
    "fact": "Which {a} of the {n}th century is known for the {b} near the {c}, and why does it matter today?",
    "choice": "The {a} was moved by the {b}.\nA. {c}\nB. {a}\nC. {n}\nD. none of these\nAnswer with one letter.",
}
EXPERTS = tuple(f"expert-{e}" for e in range(9))


def texts(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Questions of four kinds, with the kind of each."""
    import inspect
    import re
    import textwrap

    words = sorted(set(re.findall(r"\b[a-z]{4,12}\b", inspect.getsource(textwrap) + inspect.getsource(argparse))))
    rng = np.random.default_rng(seed)
    kind_N = rng.integers(0, len(KINDS), count)
    made = []
    for kind in kind_N:
        a, b, c = (" ".join(rng.choice(words, 3)) for _ in range(3))
        made.append(list(KINDS.values())[kind].format(a=a, b=b, c=c, n=rng.integers(2, 999)))
    return made, kind_N


def log_of(count: int) -> OutcomeLog:
    """A full log on which the nine experts differ by kind."""
    prompts, kind_N = texts(count)
    rng = np.random.default_rng(1)
    skill_KE = rng.uniform(0.2, 0.9, (len(KINDS), len(EXPERTS)))
    scores_NE = (rng.random((count, len(EXPERTS))) < skill_KE[kind_N]).astype(float)
    cost_NE = rng.lognormal(-8, 0.3, scores_NE.shape) * np.arange(1, 10)
    return OutcomeLog.from_arrays(prompts, EXPERTS, scores_NE, cost_NE=cost_NE)


def estimators() -> dict[str, Estimator]:
    """Every registered estimator with its defaults, and two variants that read less or more."""
    made = {name: registry.create("estimator", name) for name in registry.names("estimator")}
    made["ridge on embedding"] = registry.create("estimator", "ridge", on=("embedding",))
    made["ridge on embedding, format, tfidf"] = registry.create(
        "estimator", "ridge", on=("embedding", "format", "tfidf")
    )
    return made


def median_us(call: Callable[[int], object], repeats: int = 2000) -> tuple[float, float]:
    """Median and least microseconds of a call."""
    for n in range(200):
        call(n)
    taken = []
    for n in range(repeats):
        start = time.perf_counter()
        call(n)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6, min(taken) * 1e6


def measure(router: Router, prompts: list[str]) -> dict[str, float]:
    """Medians over many prompts of 200 characters, and the rate of one large batch."""
    bound = router.bind(router.arms)
    requests = [Request((prompt * 3)[:200]) for prompt in prompts]
    middle, least = median_us(lambda n: bound.decide(requests[n % len(requests)], seed=n))
    rates = []
    for _ in range(5):
        start = time.process_time()  # per core: what other processes take does not count
        bound.decide_many(requests)
        rates.append(len(requests) / (time.process_time() - start))
    return {"decide_us": middle, "least_us": least, "batch_per_s": statistics.median(rates)}


def aurelio() -> dict[str, Any] | None:
    """aurelio semantic-router's local index over 10,000 utterances: the look-up alone, its encoder left out."""
    try:
        from semantic_router.index.local import LocalIndex
    except ImportError:
        return None
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(10_000, 256)).astype(np.float32)
    index = LocalIndex()
    index.add(vectors.tolist(), [EXPERTS[n % 9] for n in range(10_000)], [f"u{n}" for n in range(10_000)])
    middle, least = median_us(lambda n: index.query(vectors[n], top_k=5), repeats=500)
    return {"decide_us": middle, "least_us": least}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=int, default=3000, help="queries the parametric estimators are fitted on")
    parser.add_argument("--only", help="one estimator by name")
    parser.add_argument("--full-fit", action="store_true", help="also time a whole fit on 10,000 queries")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prompts, _ = texts(2000, seed=7)
    results: dict[str, Any] = {}
    for name, estimator in estimators().items():
        if options.only in {None, name}:
            rows = 10_000 if name == "knn" else options.fit
            router = Router.fit(log_of(rows), estimator=estimator, folds=2)
            router.guard = dataclasses.replace(router.guard, passed=True)  # one that abstains would have less to do
            results[name] = measure(router, prompts)
            if not options.json:
                shown = "{decide_us:8.0f} µs median {least_us:7.0f} µs least {batch_per_s:9,.0f} prompts/s"
                print(f"{name:36s}" + shown.format(**results[name]), flush=True)
    if options.full_fit:
        log = log_of(10_000)
        start, cpu = time.perf_counter(), time.process_time()
        Router.fit(log)
        results["fit"] = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        if not options.json:
            print("fit on 10,000 × 9: {seconds:.1f} s, {cpu_seconds:.1f} s of CPU; bar 30 s".format(**results["fit"]))
    names, beside = [name for name in results if name != "fit"], aurelio()
    if beside:
        results["semantic-router local index"] = beside
        if not options.json:
            print("{:36s}{decide_us:8.0f} µs median {least_us:7.0f} µs least".format("semantic-router index", **beside))
            for name in names:
                ratio = results[name]["decide_us"] / beside["decide_us"]
                print(f"{name:36s}{ratio:8.2f} of its time, with the embedding that its row leaves out")
    elif not options.json:
        print("semantic-router is not installed; nothing runs beside")
    if options.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
