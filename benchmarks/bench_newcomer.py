"""A newcomer's worth against the number of its labelled queries: added, added with caution, or all refitted.

    TURNOUT_DATA=DIR python benchmarks/bench_newcomer.py [--table nine_llm] [--seeds 3] [--out docs/figures/newcomer]

The newcomers are the best expert of the table and the one in the middle. Writes OUT.json and OUT.svg (with matplotlib).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from turnout import registry
from turnout.evaluation import datasets
from turnout.evaluation._lines import Panel, draw
from turnout.evaluation.newcomers import ADDED, CAUTIOUS, REFITTED, Curve, curves
from turnout.outcomes import OutcomeLog

ESTIMATORS = ("average", "logistic", "ridge", "knn", "prototype", "task_table")
AXES = ("labelled queries of the newcomer", "gain in score over routing without it")


def newcomers(log: OutcomeLog) -> list[str]:
    """The best expert, and the one in the middle."""
    order = np.argsort(-log.matrix().mean(axis=0))
    return [log.experts[int(order[0])], log.experts[int(order[len(order) // 2])]]


def plot(found: list[Curve]) -> str:
    """A panel per newcomer and estimator would be many: one per newcomer and way, a line per estimator."""
    panels = []
    for name in dict.fromkeys(curve.newcomer for curve in found):
        short = name if len(name) <= 22 else f"{name[:21]}…"
        mine = [curve for curve in found if curve.newcomer == name]

        def lines(way: str, mine: list[Curve] = mine) -> dict[str, list[tuple[float, float]]]:
            return {c.estimator: [(p.labels, p.gain.mean) for p in c.points if p.way == way] for c in mine}

        panels.append(
            Panel(f"{short} joins: added (line), refitted (dashed)", *AXES, lines(ADDED), dashed=lines(REFITTED))
        )
        panels.append(
            Panel(f"{short} joins: with caution (line), added (dashed)", *AXES, lines(CAUTIOUS), dashed=lines(ADDED))
        )
    return draw(panels, columns=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="nine_llm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="estimators, with commas", default=",".join(ESTIMATORS))
    parser.add_argument("--newcomer", help="an expert instead of the best and the middle one")
    parser.add_argument("--out", type=Path, help="files OUT.json and OUT.svg")
    options = parser.parse_args()
    log = datasets.load(options.table)
    tried = {name: registry.create("estimator", name) for name in options.only.split(",")}
    found: list[Curve] = []
    for name in [options.newcomer] if options.newcomer else newcomers(log):
        found += curves(log, name, tried, seeds=range(options.seeds))
    for curve in found:
        print(f"{curve.estimator} + {curve.newcomer}: without {curve.without:.4f}, with all labels {curve.full:.4f}")
        for point in curve.points:
            print(
                f"  {point.way:9s} {point.labels:5d} labels  gain {point.gain.mean:+.4f} "
                f"[{point.gain.low:+.4f}, {point.gain.high:+.4f}]  asked {point.share:.0%}  {point.seconds:.3f} s"
            )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        document = {"table": options.table, "seeds": options.seeds, "curves": [curve.to_dict() for curve in found]}
        options.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        options.out.with_suffix(".svg").write_text(plot(found), encoding="utf-8")


if __name__ == "__main__":
    main()
