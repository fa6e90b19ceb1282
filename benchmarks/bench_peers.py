"""One decision by turnout and by aurelio's semantic-router, over the same examples, embeddings and core.

    pip install semantic-router && python benchmarks/bench_peers.py [--examples 10000]

Both embed with turnout's static encoder, so the ratio compares what comes after: semantic-router's local index with
its defaults (top 5, mean score per route) against turnout's kNN (scores of nine experts) and a prototype table.
Prints the medians and the ratio. Skips, and says so, where semantic-router is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np

from turnout import registry

ROUTES = 9
WORDS = [
    "the",
    "a",
    "model",
    "of",
    "router",
    "cost",
    "answer",
    "which",
    "best",
    "how",
    "many",
    "train",
    "travel",
    "time",
    "cheap",
    "city",
    "code",
    "list",
    "sort",
    "write",
]


def median_us(call: Callable[[str], object], prompts: list[str]) -> float:
    """Median microseconds of one call, after a tenth of the prompts as warm-up."""
    taken = []
    for prompt in prompts:
        start = time.perf_counter()
        call(prompt)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[len(taken) // 10 :]) * 1e6


def prompts(count: int, seed: int) -> list[str]:
    """Made prompts of about 200 characters."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 38))[:200] for _ in range(count)]


def semantic_router(examples: list[str], labels: list[int]) -> Callable[[str], object]:
    """semantic-router 1.x with its local index."""
    from semantic_router import Route
    from semantic_router.encoders import DenseEncoder
    from semantic_router.routers import IndexedRouter

    embedding = registry.create("signal", "embedding")

    class Static(DenseEncoder):  # type: ignore[misc]
        name: str = "turnout-static"

        def __call__(self, docs: list[str]) -> list[list[float]]:
            return embedding.transform(docs).tolist()  # type: ignore[no-any-return]

    by_route = [[t for t, label in zip(examples, labels, strict=True) if label == route] for route in range(ROUTES)]
    routes = [Route(name=f"r{i}", utterances=texts) for i, texts in enumerate(by_route)]
    router: Callable[[str], object] = IndexedRouter(encoder=Static(), routes=routes)
    return router


def turnout(name: str, examples: list[str], labels: list[int]) -> Callable[[str], object]:
    """Embedding, estimator and choice, as a bound router does them."""
    embedding = registry.create("signal", "embedding").fit(examples)
    scores_NE = np.eye(ROUTES)[labels]
    estimator = registry.create("estimator", name).fit({"embedding": embedding.transform(examples)}, scores_NE)
    return lambda text: estimator.predict({"embedding": embedding.transform([text])})[0].argmax()


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--examples", type=int, default=10_000)
    arguments.add_argument("--queries", type=int, default=300)
    given = arguments.parse_args()
    examples, asked = prompts(given.examples, 0), prompts(given.queries, 1)
    labels = [i % ROUTES for i in range(given.examples)]
    own = {name: median_us(turnout(name, examples, labels), asked) for name in ("prototype", "knn")}
    for name, micros in own.items():
        print(f"turnout {name:10s} {micros:8.0f} µs a decision over {given.examples} examples")
    if importlib.util.find_spec("semantic_router") is None:
        print("semantic-router is not installed; `pip install semantic-router` for the comparison")
        return
    other = median_us(semantic_router(examples, labels), asked)
    print(f"semantic-router    {other:8.0f} µs")
    for name, micros in own.items():
        print(f"semantic-router / turnout {name}: {other / micros:.1f}")


if __name__ == "__main__":
    main()
