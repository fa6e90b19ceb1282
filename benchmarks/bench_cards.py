"""An index of many cards: one query, one card added, one removed, and how often the shortlist misses a neighbour.

    OMP_NUM_THREADS=1 python benchmarks/bench_cards.py [--cards 100000]

Cards are made up from English words as a skill library has them: a name, a description of about 25 words and a body
of about 60. Queries are a handful of one card's words among others. Bar: 5 ms a query at 100,000 cards, one core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one core is what is claimed

import numpy as np

from turnout.cards import Card, CardIndex
from turnout.cards.vectors import Vectors


def vocabulary() -> list[str]:
    """English words of the shipped tokenizer, frequent ones first as in a text."""
    from turnout.signals.encoders.static import load

    return [token for token in load("minilm").vocabulary if token.isascii() and token.isalpha() and len(token) > 2]


def cards(count: int, seed: int = 0) -> list[Card]:
    """Made-up cards; word frequencies fall as in natural text."""
    rng, known = np.random.default_rng(seed), np.array(vocabulary())
    share = 1.0 / np.arange(10, len(known) + 10)
    lengths = {"name": 2, "description": 25, "body": 60}
    drawn = rng.choice(len(known), size=(count, sum(lengths.values())), p=share / share.sum())
    ends = np.cumsum(list(lengths.values()))
    made = []
    for number, row in enumerate(known[drawn].tolist()):
        name, description, body = row[: ends[0]], row[ends[0] : ends[1]], row[ends[1] :]
        made.append(Card(f"card-{number}", " ".join(name), " ".join(description), " ".join(body)))
    return made


def taken_ms(call: Callable[[int], object], repeats: int) -> dict[str, float]:
    """Median and 99th percentile milliseconds of processor time of a call."""
    for n in range(5):
        call(n)
    taken = []
    for n in range(repeats):
        start = time.thread_time()  # of this core: what other processes take does not count
        call(n)
        taken.append((time.thread_time() - start) * 1e3)
    return {"median_ms": statistics.median(taken), "p99_ms": float(np.quantile(taken, 0.99))}


def missed(index: CardIndex, queries: list[str], k: int = 10) -> float:
    """The share of the k nearest embeddings that the shortlist of sign bits leaves out."""
    vectors = index._vectors
    assert isinstance(vectors, Vectors)
    lost = []
    for row_D in index._encode(queries):
        near = vectors.near(row_D)
        nearest = np.argsort(-vectors.cosines(row_D))[:k]
        lost.append(0.0 if near is None else 1.0 - np.isin(nearest, near).mean())
    return float(np.mean(lost))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    made = cards(options.cards)
    rng = np.random.default_rng(1)
    asked = [made[n] for n in rng.integers(len(made), size=options.queries)]
    common = ["the", "for", "and", "with", "from", "how", "can", "you"]
    queries = [" ".join([*rng.choice(c.description.split(), 6), *rng.choice(common, 5)]) for c in asked]
    start = time.thread_time()
    index = CardIndex(made)
    results: dict[str, object] = {"cards": len(index), "build_s": time.thread_time() - start}
    results["search"] = taken_ms(lambda n: index.search(queries[n % len(queries)]), len(queries))
    fresh = cards(400, seed=9)
    added = [Card(f"new-{n}", card.name, card.description, card.body) for n, card in enumerate(fresh)]
    results["found"] = float(np.mean([index.search(q)[0].card.id == c.id for q, c in zip(queries, asked, strict=True)]))
    results["shortlist_misses"] = missed(index, queries[:100])
    gone = [card.id for card in made[:400]]
    results["add"] = taken_ms(lambda _: index.add(added.pop()), 300)
    results["remove"] = taken_ms(lambda _: index.remove(gone.pop()), 300)
    if options.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
        return
    for name, value in results.items():
        shown = ", ".join(f"{v:.2f} {k}" for k, v in value.items()) if isinstance(value, dict) else f"{value:,.3f}"
        print(f"{name:18s} {shown}")


if __name__ == "__main__":
    main()
