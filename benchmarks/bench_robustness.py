"""Flip rates of several estimators under changes of wording, and what smoothing does to them, at what price.

    TURNOUT_DATA=DIR python benchmarks/bench_robustness.py [--table nine_llm] [--sample 500] [--seeds 2] [--out FILE]

Each estimator is fitted on 70 % of the queries; a sample of the others is asked plainly and under every change. Ways:
`plain` (no smoothing), `asked` (the plain router, its signals averaged over views when asked), `fitted` (fitted on
averaged signals too). Flip rates are those of the policy, without the guard. Intervals are over queries of all seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from turnout import registry
from turnout.evaluation import datasets
from turnout.evaluation.robustness import ALL, Questions, Robustness, measure
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.routers.fitting import default_estimator
from turnout.routers.smoothing import smoothed, smoothed_signals
from turnout.stats import paired_bootstrap

ESTIMATORS = ("default", "ridge", "knn", "prototype", "task_table", "length")
VIEWS = {
    "canonical": ("canonical",),
    "plain + canonical": ("plain", "canonical"),
    "+ thinned": ("canonical", "thinned"),
}


def ways(log: OutcomeLog, name: str, views: tuple[str, ...]) -> dict[str, Router]:
    """The routers that are compared."""
    estimator = default_estimator(log) if name == "default" else registry.create("estimator", name)
    plain = Router.fit(log, estimator=estimator, folds=2, guard=False)
    made = Router.fit(log, estimator=estimator, signals=smoothed_signals(log, estimator, views), folds=2, guard=False)
    return {"plain": plain, "asked": smoothed(plain, views), "fitted": made}


def row(found: list[Robustness], plain: list[Robustness]) -> dict[str, Any]:
    """One line: rates and accuracy, pooled over seeds, with the paired differences to the plain router."""

    def pooled(parts: list[np.ndarray]) -> dict[str, float]:
        return paired_bootstrap(np.concatenate(parts), seed=0)._asdict()

    names = found[0].flipped
    return {
        "flips": {name: float(np.nanmean(np.concatenate([f.flipped[name] for f in found]))) for name in names},
        "rate": pooled([f.flipped[ALL] for f in found]),
        "less than plain": pooled([f.flipped[ALL] - p.flipped[ALL] for f, p in zip(found, plain, strict=True)]),
        "accuracy": float(np.mean([f.accuracy.mean for f in found if f.accuracy])),
        "milliseconds": float(np.median([f.milliseconds for f in found])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="nine_llm")
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", help="estimators, with commas", default=",".join(ESTIMATORS))
    parser.add_argument("--views", default="canonical", choices=list(VIEWS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    log = datasets.load(options.table)
    found: dict[str, dict[str, list[Robustness]]] = {}
    for seed in range(options.seeds):
        train, test = log.split(0.7, seed)
        at = np.sort(np.random.default_rng(seed).permutation(len(test))[: options.sample])
        test = test.select(at)
        questions = Questions.of(test.texts, seed=seed, experts=test.experts, score_NE=test.matrix())
        for name in options.only.split(","):
            for way, router in ways(train, name, VIEWS[options.views]).items():
                found.setdefault(name, {}).setdefault(way, []).append(measure(router, questions, f"{name}, {way}"))
    results = {
        name: {way: row(runs, by_way["plain"]) for way, runs in by_way.items()} for name, by_way in found.items()
    }
    about = {"table": options.table, "sample": options.sample, "seeds": options.seeds, "views": options.views}
    document = json.dumps({**about, "estimators": results}, indent=1) + "\n"
    if options.out:
        options.out.write_text(document, encoding="utf-8")
    for name, by_way in results.items():
        for way, line in by_way.items():
            less, rate = line["less than plain"], line["rate"]
            print(
                f"{name:12s} {way:8s} flips {rate['mean']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]"
                f"  change {less['mean']:+.3f} [{less['low']:+.3f}, {less['high']:+.3f}]"
                f"  accuracy {line['accuracy']:.3f}  {line['milliseconds']:.2f} ms a text"
            )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
