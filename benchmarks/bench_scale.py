"""Time and memory against the size of the log and of the pool, one core, each point in a fresh process.

    OMP_NUM_THREADS=1 python benchmarks/bench_scale.py [--largest 1000000] [--only pool,knn] [--out FILE]

pool: one decision (signals, estimates, calibration, costs, Decision) with 9 to 1,000 experts; bar 1 ms at 1,000.
knn: one query's neighbours among 10,000 to a million logged queries by the inverted file, with its recall against the
flat search; bar 5 ms at a million. faiss runs beside where it is installed, on the same rows. Rows are made: embeddings
of real sentences (the standard library's documentation), mixed two by two with noise.
fit: a ridge router by chunks (`turnout fit --engine chunks`), features never held whole; seconds, CPU seconds
(what counts on a shared machine) and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one core is what is claimed

import numpy as np

HERE = Path(__file__).parent
DIMENSIONS = 256
PARTS = ("pool", "knn", "fit")


def timed_ms(call: Callable[[int], object], repeats: int) -> tuple[float, float]:
    """Median and least milliseconds of a call."""
    for n in range(min(20, repeats)):
        call(n)
    times = []
    for n in range(repeats):
        start = time.perf_counter()
        call(n)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times), 1e3 * min(times)


def peak_mb() -> float:
    """Peak memory of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def pool(experts: int, name: str) -> dict[str, float]:
    """A router over so many experts, fitted on 600 questions."""
    sys.path.insert(0, str(HERE))
    from bench_decision import texts

    from turnout import OutcomeLog, Request, Router, registry

    prompts, kind_N = texts(600)
    rng = np.random.default_rng(1)
    skill_KE = rng.uniform(0.2, 0.9, (4, experts))
    scores_NE = (rng.random((len(prompts), experts)) < skill_KE[kind_N]).astype(float)
    cost_NE = rng.lognormal(-8, 0.3, scores_NE.shape)
    log = OutcomeLog.from_arrays(prompts, [f"expert-{e}" for e in range(experts)], scores_NE, cost_NE=cost_NE)
    start = time.perf_counter()
    policy = registry.create("policy", "utility", lam=10.0)
    router = Router.fit(log, estimator=registry.create("estimator", name), policy=policy, folds=2, guard=False)
    fitted = time.perf_counter() - start
    bound, asked = router.bind(router.arms), texts(300, seed=5)[0]
    requests = [Request(text, bytes=len(text)) for text in asked]
    decide, least = timed_ms(lambda n: bound.decide(requests[n % len(requests)], seed=n), 300)
    return {"decide_ms": decide, "least_ms": least, "fit_s": fitted, "peak_mb": peak_mb()}


def rows(count: int, seed: int) -> np.ndarray:
    """Unit rows near the embeddings of real sentences."""
    sys.path.insert(0, str(HERE))
    from bench_log import sentences

    from turnout import registry

    real_KD = registry.create("signal", "embedding").fit([]).transform(sentences())
    rng = np.random.default_rng(seed)
    made_ND = np.empty((count, DIMENSIONS), dtype=np.float32)
    for start in range(0, count, 50_000):
        size = min(50_000, count - start)
        a_N, b_N = rng.integers(0, len(real_KD), (2, size))
        mix_N1 = rng.uniform(0.5, 1.0, (size, 1)).astype(np.float32)
        noise_ND = rng.standard_normal((size, DIMENSIONS), dtype=np.float32) * np.float32(0.02)
        part_ND = mix_N1 * real_KD[a_N] + (1 - mix_N1) * real_KD[b_N] + noise_ND
        made_ND[start : start + size] = part_ND / np.linalg.norm(part_ND, axis=1, keepdims=True)
    return made_ND


def knn(count: int, beside: str) -> dict[str, float]:
    """The estimator over so many logged queries, or faiss over the same rows."""
    x_ND, query_ND = rows(count, 0), rows(200, 1)
    if beside == "faiss":
        return faiss_knn(x_ND, query_ND)
    from turnout import registry

    rng = np.random.default_rng(2)
    scores_NE = (rng.random((count, 9)) < 0.5).astype(np.float32)
    start = time.perf_counter()
    fitted = registry.create("estimator", "knn", index=beside).fit({"embedding": x_ND}, scores_NE)
    fit_s = time.perf_counter() - start
    fitted.predict({"embedding": query_ND[:1]})  # derives the search
    ask, least = timed_ms(lambda n: fitted.predict({"embedding": query_ND[n % 200 : n % 200 + 1]}), 200)
    found: dict[str, float] = {"query_ms": ask, "least_ms": least, "fit_s": fit_s, "peak_mb": peak_mb()}
    if beside == "cells":
        found["recall"] = recall(fitted, x_ND, query_ND[:50])
    return found


def recall(fitted: Any, x_ND: np.ndarray, query_ND: np.ndarray) -> float:
    """The part of the 40 true neighbours that stand among the 160 candidates of the inverted file."""
    from turnout.estimators.knn import PROBES, RERANKED

    inverted, hits = fitted._search().inverted, 0
    for query_D in query_ND:
        true = np.argpartition(x_ND @ query_D, len(x_ND) - 40)[-40:]
        turned_D = (query_D @ fitted.rotation_DD_)[: inverted.x_MD.shape[1]]
        hits += len(np.intersect1d(true, inverted.near(turned_D, RERANKED * 40, PROBES)))
    return hits / (40 * len(query_ND))


def faiss_knn(x_ND: np.ndarray, query_ND: np.ndarray) -> dict[str, float]:
    """faiss's inverted file with as many cells and probes."""
    import faiss

    faiss.omp_set_num_threads(1)
    cells = max(2, int(2 * np.sqrt(len(x_ND))))
    start = time.perf_counter()
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIMENSIONS), DIMENSIONS, cells, faiss.METRIC_INNER_PRODUCT)
    index.train(x_ND[np.random.default_rng(0).permutation(len(x_ND))[: 40 * cells]])
    index.add(x_ND)
    fit_s = time.perf_counter() - start
    index.nprobe = 32
    ask, least = timed_ms(lambda n: index.search(query_ND[n % 200 : n % 200 + 1], 40), 200)
    hits = 0
    for query_D in query_ND[:50]:
        true = np.argpartition(x_ND @ query_D, len(x_ND) - 40)[-40:]
        hits += len(np.intersect1d(true, index.search(query_D[None], 40)[1][0]))
    return {"query_ms": ask, "least_ms": least, "fit_s": fit_s, "peak_mb": peak_mb(), "recall": hits / (40 * 50)}


def fit(count: int, engine: str) -> dict[str, float]:
    """A ridge router on a made log of so many queries, by chunks or whole."""
    sys.path.insert(0, str(HERE))
    from bench_decision import EXPERTS, KINDS, texts

    from turnout import OutcomeLog, Router, registry
    from turnout.routers.streaming import fit_by_chunks

    prompts, kind_N = texts(min(count, 20_000))
    times = -(-count // len(prompts))
    prompts = [f"{text} {n}" for n in range(times) for text in prompts][:count]
    kind_N = np.tile(kind_N, times)[:count]
    rng = np.random.default_rng(1)
    skill_KE = rng.uniform(0.2, 0.9, (len(KINDS), len(EXPERTS)))
    scores_NE = (rng.random((count, len(EXPERTS))) < skill_KE[kind_N]).astype(float)
    log = OutcomeLog.from_arrays(prompts, EXPERTS, scores_NE)
    log.__dict__["_groups"] = np.arange(count)  # bench_log.py times the grouping
    before, estimator = peak_mb(), registry.create("estimator", "ridge")
    start, busy = time.perf_counter(), time.process_time()
    if engine == "chunks":
        fit_by_chunks(log, estimator=estimator, folds=3)
    else:
        Router.fit(log, estimator=estimator, folds=3)
    taken = {"fit_s": time.perf_counter() - start, "cpu_s": time.process_time() - busy}
    return {**taken, "peak_mb": peak_mb(), "log_mb": before}


def jobs(part: str, largest: int) -> list[tuple[int, str]]:
    """What is measured: sizes and variants."""
    if part == "pool":
        return [(e, name) for name in ("ridge", "prototype", "knn") for e in (9, 100, 1000)]
    sizes = [n for n in (10_000, 30_000, 100_000, 300_000, 1_000_000) if n <= largest]
    if part == "knn":
        beside = ["faiss"] if __import__("importlib.util").util.find_spec("faiss") else []
        return [(n, name) for name in ("cells", "flat", *beside) for n in sizes]
    return [(n, "chunks") for n in sizes] + [(n, "local") for n in sizes if n <= 30_000]


def measured(part: str, size: int, variant: str) -> dict[str, Any]:
    """One point, in a process of its own."""
    command = [sys.executable, __file__, "--measure", part, str(size), variant]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"size": size, "variant": variant, **json.loads(done.stdout)}


def plot(found: dict[str, list[dict[str, Any]]]) -> str:
    """A panel per quantity."""
    from turnout.evaluation._lines import Panel, draw

    wanted = (
        ("pool", "decide_ms", "one decision", "experts in the pool", "ms", {"bar at 1,000: 1 ms": 1.0}),
        ("knn", "query_ms", "neighbours of one query", "logged queries", "ms", {"bar at a million: 5 ms": 5.0}),
        ("knn", "peak_mb", "memory of the neighbours", "logged queries", "MB", {}),
        ("fit", "cpu_s", "fitting a ridge router", "logged queries", "CPU s", {}),
        ("fit", "peak_mb", "memory of fitting", "logged queries", "MB", {}),
    )
    panels = []
    for part, key, title, x, y, levels in wanted:
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in found.get(part, []):
            lines.setdefault(row["variant"], []).append((row["size"], row[key]))
        if lines:
            panels.append(Panel(title, x, y, lines, levels=levels, logarithmic="xy"))
    return draw(panels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    parser.add_argument("--out", type=Path, help="files OUT.json (kept and renewed part by part) and OUT.svg")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        part, size, variant = options.measure
        sys.stdout.write(json.dumps({"pool": pool, "knn": knn, "fit": fit}[part](int(size), variant)))
        return
    kept = options.out.with_suffix(".json") if options.out else None
    found = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.is_file() else {}
    for part in options.only.split(","):
        found[part] = []
        for size, variant in jobs(part, options.largest):
            row = measured(part, size, variant)
            found[part].append(row)
            shown = "  ".join(f"{key} {value:,.3f}" for key, value in row.items() if isinstance(value, float))
            print(f"{part:5s} {variant:10s} {size:9,d}  {shown}", flush=True)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        options.out.with_suffix(".svg").write_text(plot(found), encoding="utf-8")


if __name__ == "__main__":
    main()
