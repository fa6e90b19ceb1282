"""Peers' routers beside ours: the same table, splits, embeddings and core.

    pip install semantic-router torch    # the rest comes with turnout
    python benchmarks/bench_peers.py --data DIR [--seeds 1] [--only TABLE] [--rows NAME]... [--json FILE]

Whose code runs, said in each row:

- `own code`: aurelio's semantic-router 1.x, its local index and its defaults, where it is installed.
- `re-created`: LLMRouter's kNN, SVM, MLP and MF and RouteLLM's MF, from their published configurations and model
  definitions, since LLMRouter's package installs only with LiteLLM, gradio and torch-geometric, embeds with Longformer
  and reads its model from disk at every decision, and RouteLLM's embeds through an API at every decision.
- `turnout`: estimators on the same embedding, and the default router with its own signals.

Accuracy on nine_llm by five folds, APGR on routellm_mmlu from 1,500 labels; the time of a decision is CPU time of one
query at a time, embedding excluded, least median of three rounds. Peers that learn a label are given each query's best
expert, the first of equals, as LLMRouter does.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from turnout import registry
from turnout.evaluation import datasets
from turnout.evaluation.baselines import best_single
from turnout.evaluation.pairs import pair_figures, pair_of
from turnout.evaluation.protocol import few_labels, folds
from turnout.evaluation.tables import Table
from turnout.features import Floats
from turnout.routers import Router
from turnout.stats import paired_bootstrap

ROUNDS, ASKED = 3, 200
DEFAULT = "default router"
Score = Callable[[Floats], Floats]  # embeddings (N, D) to a score per expert (N, E)


@dataclass(frozen=True)
class Side:
    """What a router learns from: unit embeddings, scores, texts; `names` are the experts'."""

    x_ND: Floats
    score_NE: Floats
    texts: Sequence[str]
    names: Sequence[str]

    def best_expert(self) -> Floats:
        """The best expert of each query, the first of equals."""
        return np.asarray(self.score_NE.argmax(axis=1))


def labelled(make: Callable[[], Any]) -> Callable[[Side], Score]:
    """A scikit-learn classifier of the best expert; experts that are never best score 0."""

    def fit(side: Side) -> Score:
        model = make().fit(side.x_ND, side.best_expert())

        def score(x_ND: Floats) -> Floats:
            out_NE = np.zeros((len(x_ND), side.score_NE.shape[1]))
            if hasattr(model, "predict_proba"):
                out_NE[:, model.classes_] = model.predict_proba(x_ND)
                return out_NE
            margin = model.decision_function(x_ND)
            out_NE -= 1e3
            out_NE[:, model.classes_] = np.stack([-margin, margin], axis=1) if margin.ndim == 1 else margin
            return out_NE

        return score

    return fit


def llmrouter_knn() -> Any:
    """`n_neighbors` 5, uniform votes; on unit rows Euclid orders as cosine does."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(n_neighbors=5)


def llmrouter_svm() -> Any:
    """RBF, C = 1, gamma "scale"; margins instead of Platt's probabilities, which choose nearly the same."""
    from sklearn.svm import SVC

    return SVC(kernel="rbf", C=1.0, gamma="scale", random_state=0)


def llmrouter_mlp() -> Any:
    """Layers of 128 and 64, Adam at .001, 100 epochs of batches of 32, alpha 1e-4."""
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier((128, 64), learning_rate_init=1e-3, batch_size=32, alpha=1e-4, random_state=0)
    return network.set_params(max_iter=100, tol=0.0, n_iter_no_change=100)


def factorised(*, epochs: int, step: float, decay: float, noise: float, strict: bool) -> Callable[[Side], Score]:
    """wᵀ(v_m ⊙ W q) with unit v_m, 128 dimensions, batches of 64, cross-entropy over (winner, loser) pairs.

    Pairs of LLMRouter: the best expert and every other; of RouteLLM (`strict`): every two with different scores.
    """

    def fit(side: Side) -> Score:
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(1)
        query, win, lose = (torch.from_numpy(part) for part in _pairs(side, strict))
        x_ND = torch.from_numpy(side.x_ND)
        experts = torch.nn.Embedding(side.score_NE.shape[1], 128)
        into = torch.nn.Linear(x_ND.shape[1], 128, bias=False)
        out = torch.nn.Linear(128, 1, bias=False)
        parameters = [*experts.parameters(), *into.parameters(), *out.parameters()]
        adam = torch.optim.Adam(parameters, lr=step, weight_decay=decay)
        for _ in range(epochs):
            for rows in torch.randperm(len(query)).split(64):
                unit = torch.nn.functional.normalize(experts.weight, dim=1)
                asked = x_ND[query[rows]]
                asked = asked + noise * torch.randn_like(asked) if noise else asked
                logit = out((unit[win[rows]] - unit[lose[rows]]) * into(asked)).squeeze(1)
                adam.zero_grad()
                torch.nn.functional.softplus(-logit).mean().backward()
                adam.step()
        unit_EK = torch.nn.functional.normalize(experts.weight, dim=1).detach().numpy()
        map_DE = into.weight.detach().numpy().T @ (unit_EK * out.weight.detach().numpy()).T
        return lambda asked_ND: asked_ND @ map_DE

    return fit


def _pairs(side: Side, strict: bool) -> tuple[Any, Any, Any]:
    query_P, win_P, lose_P, best_N = [], [], [], side.best_expert()
    for n, score_E in enumerate(side.score_NE):
        for one in range(len(score_E)) if strict else [int(best_N[n])]:
            for other in range(len(score_E)):
                if score_E[one] > score_E[other] or (not strict and one != other):
                    query_P.append(n)
                    win_P.append(one)
                    lose_P.append(other)
    return tuple(np.array(part, dtype=np.int64) for part in (query_P, win_P, lose_P))


def semantic_router(side: Side) -> Score:
    """semantic-router's local index with its defaults; a route per expert, its utterances the queries it is best on.

    It embeds texts itself: here a text is the number of a row, which the encoder looks up.
    """
    from semantic_router import Route
    from semantic_router.encoders import DenseEncoder
    from semantic_router.routers import IndexedRouter

    held = {"known": side.x_ND, "asked": side.x_ND}

    class Looked(DenseEncoder):  # type: ignore[misc]
        name: str = "turnout-static"

        def __call__(self, docs: list[str]) -> list[list[float]]:
            pairs = [doc.split() for doc in docs]
            return [held[kind][int(row)].tolist() for kind, row in pairs]

    best_N = side.best_expert()
    routes = [
        Route(name=str(e), utterances=[f"known {n}" for n in np.flatnonzero(best_N == e)])
        for e in sorted(set(best_N.tolist()))
    ]
    router = IndexedRouter(encoder=Looked(), routes=routes)

    def score(x_ND: Floats) -> Floats:
        held["asked"] = x_ND
        out_NE = np.zeros((len(x_ND), side.score_NE.shape[1]))
        for n in range(len(x_ND)):
            for choice in router(f"asked {n}", limit=None):
                out_NE[n, int(choice.name)] = choice.confidence or 0.0
        return out_NE

    return score


def ours(name: str, **params: object) -> Callable[[Side], Score]:
    """A registered estimator on the embedding alone."""

    def fit(side: Side) -> Score:
        made = registry.create("estimator", name, **params).fit({"embedding": side.x_ND}, side.score_NE)
        return lambda x_ND: made.predict({"embedding": x_ND})[0]  # type: ignore[no-any-return]

    return fit


PEERS: dict[str, tuple[str, Callable[[Side], Score]]] = {
    "LLMRouter kNN": ("re-created", labelled(llmrouter_knn)),
    "LLMRouter SVM": ("re-created", labelled(llmrouter_svm)),
    "LLMRouter MLP": ("re-created", labelled(llmrouter_mlp)),
    "LLMRouter MF": ("re-created", factorised(epochs=5, step=1e-3, decay=0.0, noise=0.0, strict=False)),
    "RouteLLM MF": ("re-created", factorised(epochs=100, step=3e-4, decay=1e-5, noise=0.1, strict=True)),
    "semantic-router": ("own code", semantic_router),
    "prototype": ("turnout", ours("prototype")),
    "knn": ("turnout", ours("knn")),
    "ridge": ("turnout", ours("ridge", on=("embedding",))),
    "logistic": ("turnout", ours("logistic", on=("embedding",))),
}
NEEDS = {"semantic-router": "semantic_router", "LLMRouter MF": "torch", "RouteLLM MF": "torch"}


def microseconds(score: Score, x_ND: Floats) -> float:
    """CPU time of one decision: the least median of three rounds."""
    found = []
    for _ in range(ROUNDS):
        taken = []
        for x_D in x_ND[:ASKED]:
            start = time.process_time_ns()
            score(x_D[None]).argmax()
            taken.append(time.process_time_ns() - start)
        found.append(statistics.median(taken) / 1e3)
    return min(found)


def available(two: bool, wanted: Sequence[str]) -> Iterator[str]:
    """The wanted rows whose packages are there, RouteLLM's between two models alone; says what is missing."""
    for name in PEERS:
        if name not in wanted or (name.startswith("RouteLLM") and not two):
            continue
        package = NEEDS.get(name)
        if package is None or importlib.util.find_spec(package):
            yield name
        else:
            print(f"{name}: left out, {package} is not installed")


def compare(name: str, data: Path, seeds: Sequence[int], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Every row on one table: accuracy and its gain over the best single expert, or APGR, and time."""
    log = datasets.load(name, data)
    table = Table.of(log)
    x_ND = np.asarray(registry.create("signal", "embedding").fit(log.texts).transform(log.texts))
    two = name == "routellm_mmlu"
    splits = few_labels(table, 1500, seeds) if two else folds(table, 5, seeds)
    peers, times = [*available(two, wanted)], dict[str, float]()
    names = [*peers, *([DEFAULT] if DEFAULT in wanted else [])]
    said = {row: np.full((len(seeds), *table.value_NE.shape), np.nan) for row in names}
    chosen = {row: np.zeros(len(table)) for row in [*names, "best single"]}
    for split in splits:
        train, seed = split.train_I, list(seeds).index(split.seed)
        side = Side(x_ND[train], table.value_NE[train], [log.texts[i] for i in train], log.experts)
        for row in peers:
            score = PEERS[row][1](side)
            said[row][seed, split.test_I] = score(x_ND[split.test_I])
            times.setdefault(row, microseconds(score, x_ND[split.test_I]))
        if DEFAULT in names:
            router = Router.fit(log.select(train), seed=split.seed, guard=False, folds=3)
            said[DEFAULT][seed, split.test_I] = router.predict(log.select(split.test_I))[0]
        for row in names:
            choice_N = said[row][seed, split.test_I].argmax(axis=1)
            chosen[row][split.test_I] += table.value_NE[split.test_I, choice_N] / len(seeds)
        chosen["best single"][split.test_I] += table.value_NE[split.test_I, best_single(table.rows(train))] / len(seeds)
    rows = [_row(row, chosen, table, times.get(row)) for row in [*names, "best single"]]
    return _with_apgr(rows, said, table, [split.test_I for split in splits]) if two else rows


def _row(name: str, chosen: dict[str, Floats], table: Table, micros: float | None) -> dict[str, Any]:
    whose = PEERS[name][0] if name in PEERS else "turnout" if name == DEFAULT else "baseline"
    gain = paired_bootstrap(chosen[name] - chosen["best single"], table.group_N, seed=0)
    found = {"name": name, "whose": whose, "accuracy": float(chosen[name].mean()), "gain": tuple(gain)}
    return {**found, "µs": micros}


def _with_apgr(
    rows: list[dict[str, Any]], said: dict[str, Floats], table: Table, tested: Sequence[Any]
) -> list[dict[str, Any]]:
    """RouteLLM's figure of every rule that ranks queries, in place of accuracy."""
    weak, strong = pair_of(table)
    wishes = {
        name: [score_NE[:, strong] - score_NE[:, weak] for score_NE in scores_SNE] for name, scores_SNE in said.items()
    }
    found = pair_figures(table, wishes, list(tested))
    assert found is not None
    apgr = {row.name: row for row in found.rows}
    kept = [
        {**{k: row[k] for k in ("name", "whose", "µs")}, **_ranks(apgr[row["name"]])}
        for row in rows
        if row["name"] in apgr
    ]
    return [*kept, {"name": "prompt length", "whose": "baseline", "µs": None, **_ranks(apgr["prompt length"])}]


def _ranks(row: Any) -> dict[str, Any]:
    return {"APGR": row.apgr.mean, "CPT50": row.cpt50, "over prompt length": tuple(row.gain) if row.gain else None}


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A plain table."""
    for row in rows:
        cells = [f"{row['name']:16s} {row['whose']:11s}"]
        for key, value in row.items():
            if key in ("name", "whose") or value is None:
                continue
            span = isinstance(value, tuple)
            text = (
                "{:+.3f} [{:+.3f}, {:+.3f}]".format(*value)
                if span
                else f"{value:.0f}"
                if key == "µs"
                else f"{value:.3f}"
            )
            cells.append(f"{key} {text}")
        print("  ".join(cells))


def main() -> None:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--data", type=Path, help="folder of outcome tables; else the variable TURNOUT_DATA")
    arguments.add_argument("--only", choices=("nine_llm", "routellm_mmlu"), action="append")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--rows", choices=[*PEERS, DEFAULT], action="append", help="all of them by default")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    if given.data is None and not os.environ.get(datasets.VARIABLE):
        print(f"no outcome tables; name their folder with --data or {datasets.VARIABLE}")
        return
    warnings.filterwarnings("ignore", message="Stochastic Optimizer")  # the epochs are theirs
    found = {}
    for name in given.only or ("nine_llm", "routellm_mmlu"):
        print(f"\n{name}, {given.seeds} seeds")
        found[name] = compare(name, datasets.folder(given.data), range(given.seeds), given.rows or [*PEERS, DEFAULT])
        show(found[name])
    if given.json:
        given.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
