"""Conversations stitched from logged queries: no stickiness, always keep, a fixed margin, and switch-aware.

    TURNOUT_DATA=DIR python benchmarks/bench_conversations.py [--seeds 3] [--turns 8] [--out docs/figures/x.json]

nine_llm with its list prices; the router is fitted on 70 % of the queries and conversations are stitched from the
others. λ is chosen on the training side: the least that spends half of what λ = 0 does. Then follow-ups: queries cut
before their last sentence into two turns, routed by the last turn alone, and as the gateway reads conversations.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from turnout import registry
from turnout.evaluation import datasets, metrics
from turnout.evaluation.conversations import WAYS, Outcome, compare, simulate, stitch
from turnout.outcomes import OutcomeLog
from turnout.prices import sizes
from turnout.routers import Router
from turnout.routers.conversation import WORDS, conversation_text
from turnout.stats import bootstrap_mean, paired_bootstrap
from turnout.types import Arm, Price


def fitted(train: OutcomeLog, prices: dict[str, Price], estimator: str, part: float) -> Router:
    """A router whose λ spends `part` of what best quality does, on the training side."""
    arms = [Arm(name, price=prices[name]) for name in train.experts]
    made = registry.create("estimator", estimator)
    free = Router.fit(train, arms=arms, estimator=made, folds=3, guard=False)
    if part >= 1:
        return free
    spend = 1000 * free.summary["held_out"]["table"]["router"]["cost"] * part
    policy = registry.create("policy", "budget", dollars_per_1k=spend)
    return Router.fit(train, arms=arms, estimator=made, policy=policy, folds=3, guard=False)


def unrelated(router: Router, log: OutcomeLog) -> dict[str, Any]:
    """What reading earlier turns costs where a short query stands alone and another topic came before."""
    at = np.array([n for n, text in enumerate(log.texts) if len(text.split()) < WORDS])
    before = np.random.default_rng(0).permutation(len(log))[: len(at)]
    texts = [conversation_text((log.texts[m], log.texts[n])) for m, n in zip(before, at, strict=True)]
    score_NE = log.matrix()[at]
    value = [metrics.chosen(score_NE, router.choose(read)) for read in (texts, [log.texts[n] for n in at])]
    joined = float(np.mean([text != log.texts[n] for text, n in zip(texts, at, strict=True)]))
    change = paired_bootstrap(value[0] - value[1], seed=0)
    return {"queries": len(at), "read with another": joined, "change over the last turn": change._asdict()}


def follow_ups(router: Router, log: OutcomeLog) -> dict[str, Any]:
    """Accuracy of routing a cut query by its last turn, and by what the gateway reads."""
    cut = [(n, re.split(r"(?<=[.?!])\s+(?=\S)", text.strip())) for n, text in enumerate(log.texts)]
    cut = [(n, parts) for n, parts in cut if len(parts) > 1 and len(parts[-1].split()) < WORDS]
    turns = [(" ".join(parts[:-1]), parts[-1]) for _, parts in cut]
    at, score_NE = np.array([n for n, _ in cut]), log.matrix()
    read = {
        "whole query": [log.texts[n] for n, _ in cut],
        "last turn": [last for _, last in turns],
        "as the gateway": [conversation_text(both) for both in turns],
    }
    value = {name: metrics.chosen(score_NE[at], router.choose(texts)) for name, texts in read.items()}
    gain = paired_bootstrap(value["as the gateway"] - value["last turn"], seed=0)
    return {
        "queries": len(cut),
        "accuracy": {name: bootstrap_mean(values, seed=0)._asdict() for name, values in value.items()},
        "gain over the last turn": gain._asdict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--conversations", type=int, default=300)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--estimator", default="ridge")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    log = datasets.load("nine_llm")
    listed = json.loads((datasets.folder() / "nine_llm" / "prices.json").read_text(encoding="utf-8"))
    prices = {name: Price(row["input_price"], row["output_price"]) for name, row in listed.items()}
    size_N1 = sizes(log.texts)[:, None]
    tokens = {
        "prompt_tokens": np.tile(size_N1, len(log.experts)),
        "completion_tokens": np.full(log.matrix().shape, 200),
    }
    log = OutcomeLog.from_arrays(log.texts, log.experts, log.matrix(), tasks=log.tasks, columns_NE=tokens)
    document: dict[str, Any] = {"turns": options.turns, "conversations": options.conversations, "seeds": options.seeds}
    for part in (1.0, 0.5):
        found: dict[str, list[Outcome]] = {way: [] for way in WAYS}
        cut, other = [], []
        for seed in range(options.seeds):
            train, test = log.split(0.7, seed)
            router = fitted(train, prices, options.estimator, part)
            stitched = stitch(test, options.conversations, options.turns, seed=seed)
            for way in WAYS:
                found[way].append(simulate(router, test, stitched, prices, way))
            cut.append(follow_ups(router, test))
            other.append(unrelated(router, test))
        name = "best quality" if part == 1 else "half its cost"
        document[name] = show(name, found)
        document[name] |= {"follow-ups": cut, "unrelated": other}
        for row in other:
            change = row["change over the last turn"]
            span = f"{change['mean']:+.3f} [{change['low']:+.3f}, {change['high']:+.3f}]"
            print(
                f"  {row['queries']} short queries after another topic: {row['read with another']:.0%} joined, {span}"
            )
        for row in cut:
            shown = ", ".join(f"{k} {v['mean']:.3f}" for k, v in row["accuracy"].items())
            gain = row["gain over the last turn"]
            over = f"{gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
            print(f"  {row['queries']} follow-ups: {shown}; as the gateway less last turn {over}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def show(name: str, found: dict[str, list[Outcome]]) -> dict[str, Any]:
    """Print and return the means over seeds, with the paired difference of the switch-aware way to each other."""
    print(name)
    rows: dict[str, Any] = {}
    for way, runs in found.items():
        mean = {key: float(np.mean([getattr(run, key).mean for run in runs])) for key in ("quality", "cost", "utility")}
        mean |= {key: float(np.mean([getattr(run, key) for run in runs])) for key in ("switches", "broken", "cached")}
        less = [compare(a, b) for a, b in zip(found["aware"], runs, strict=True)]
        rows[way] = {**mean, "aware less this, utility, per seed": [each._asdict() for each in less]}
        ahead = f"aware - this {np.mean([x.mean for x in less]):+.4f} (least low {min(x.low for x in less):+.4f})"
        print(
            f"  {way:7s} quality {mean['quality']:.4f}  ${mean['cost']:.4f} per 1,000 turns"
            f"  utility {mean['utility']:.4f}  switches {mean['switches']:.2f}"
            f"  broken loops {mean['broken']:.2f}  cached {mean['cached']:.0%}  {ahead}"
        )
    return rows


if __name__ == "__main__":
    main()
