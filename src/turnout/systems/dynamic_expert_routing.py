"""Dynamic routing between experts as tasks arrive: one expert per task, none trained again, a light router in front.

Source: "Dynamic Routing Between Experts: A Data-Efficient Approach to Continual Learning in Vision-Language Models",
arXiv 2511.01831.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from turnout import registry
from turnout.estimators.base import Estimator
from turnout.evaluation import datasets
from turnout.features import Floats
from turnout.outcomes import files
from turnout.stats import bootstrap_mean, paired_bootstrap
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["DYNAMIC_EXPERT_ROUTING"]

PILOTS = 15  # centroids that stand for a domain
TAUGHT, TOLD, TESTED = 40, 10, 30  # utterances per intent that an expert learns from, the router sees, and are asked


def _build() -> Mapping[str, Any]:
    return {
        "estimator": registry.create("estimator", "pilots", each=PILOTS, level="rating"),
        "policy": registry.create("policy", "utility", lam=0.0),
        "guard": False,
    }


def _measure(system: System, run: Run) -> Figures:
    """Ten domains of intents one after the other: routed experts, one model for all, and one that only knows the "
    "last."""
    folder = datasets.folder(run.data)
    _, table = files.read(folder / "clinc150" / "utterances.parquet")
    table = table.filter(table["intent"] != "oos")
    encoded = np.asarray(registry.create("signal", "embedding").fit([]).transform(table["text"].to_list()))
    intents, intent_N = np.unique(table["intent"].to_numpy().astype(str), return_inverse=True)
    domain_N = np.unique(table["domain"].to_numpy().astype(str), return_inverse=True)[1]
    names = (
        "routed experts",
        "one model, trained on all",
        "one model, trained on the last domain",
        "true domain's expert",
    )
    right: dict[str, list[Floats]] = {name: [] for name in names}
    told: list[Floats] = []
    for done, seed in enumerate(run.seeds, start=1):
        parts = _drawn(intent_N, len(intents), np.random.default_rng(seed))
        order = np.random.default_rng(seed).permutation(int(domain_N.max()) + 1)
        made, routed_N = _answers(system.build()["estimator"], encoded, (intent_N, domain_N), parts, order)
        for name in names:
            right[name].append(made[name])
        told.append(routed_N)
        if run.tick:
            run.tick(done, len(run.seeds))
    values = {name: np.concatenate(parts) for name, parts in right.items()}
    joint = values[names[1]]
    return Figures(
        table="clinc150",
        protocol=(
            f"ten domains arrive in random order, {len(run.seeds)} orders; per intent {TAUGHT} utterances for its "
            f"expert, {TOLD} of them for the router, {TESTED} others asked after the last; right domain "
            f"{np.mean(told):.3f}"
        ),
        metric="intent accuracy",
        value=bootstrap_mean(values[names[0]], seed=0),
        gain=paired_bootstrap(values[names[0]] - joint, seed=0),
        against=names[1],
        rows=[
            {
                "name": name,
                "intent accuracy": float(value_N.mean()),
                "gain over training on all": None if name == names[1] else float((value_N - joint).mean()),
            }
            for name, value_N in values.items()
        ],
    )


def _drawn(intent_N: Any, intents: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Rows that teach experts, that the router sees, and that are asked."""
    rows = [rng.permutation(np.flatnonzero(intent_N == intent)) for intent in range(intents)]
    taught, asked = [part[:TAUGHT] for part in rows], [part[TAUGHT : TAUGHT + TESTED] for part in rows]
    return np.concatenate(taught), np.concatenate([part[:TOLD] for part in taught]), np.concatenate(asked)


def _answers(
    estimator: Estimator, x_ND: Floats, labels: tuple[Any, Any], parts: tuple[Any, Any, Any], order: Any
) -> tuple[dict[str, Floats], Floats]:
    """Whether each answer is right, per rule; and whether the router found the domain."""
    (intent_N, domain_N), (taught, told, asked) = labels, parts
    experts = {d: _Centroids(x_ND, intent_N, taught[domain_N[taught] == d]) for d in order}
    first = told[np.isin(domain_N[told], order[:2])]
    router = estimator.clone().fit({"embedding": x_ND[first]}, np.eye(len(order))[domain_N[first]][:, order[:2]])
    for d in order[2:]:
        own = told[domain_N[told] == d]
        router.add_expert({"embedding": x_ND[own]}, np.ones(len(own)))
    found_N = np.asarray(order)[router.predict({"embedding": x_ND[asked]})[0].argmax(axis=1)]
    answers = {d: expert(x_ND[asked]) for d, expert in experts.items()}
    routed_N = np.choose(np.argsort(order)[found_N], [answers[d] for d in order])
    truth_N = np.choose(np.argsort(order)[domain_N[asked]], [answers[d] for d in order])
    said = {
        "routed experts": routed_N,
        "one model, trained on all": _Centroids(x_ND, intent_N, taught)(x_ND[asked]),
        "one model, trained on the last domain": answers[order[-1]],
        "true domain's expert": truth_N,
    }
    right = {name: (answer_N == intent_N[asked]).astype(np.float64) for name, answer_N in said.items()}
    return right, (found_N == domain_N[asked]).astype(np.float64)


class _Centroids:
    """An expert that can be had without training: the nearest mean of an intent's utterances."""

    def __init__(self, x_ND: Floats, intent_N: Any, rows: Any) -> None:
        self.intents = np.unique(intent_N[rows])
        centers = [x_ND[rows[intent_N[rows] == intent]].mean(axis=0) for intent in self.intents]
        self.center_KD = np.stack([center / np.linalg.norm(center) for center in centers])

    def __call__(self, x_ND: Floats) -> Any:
        return self.intents[(x_ND @ self.center_KD.T).argmax(axis=1)]


DYNAMIC_EXPERT_ROUTING = System(
    name="dynamic_expert_routing",
    title="Dynamic routing between experts",
    level="request",
    claim=Claim(
        "Routing among experts keeps what a vision-language model knew while new tasks are added, with the data and "
        "computation of the new task alone.",
        "arXiv 2511.01831, abstract",
    ),
    parts=("signal:embedding", "estimator:pilots", "policy:utility"),
    novelty="fleet",
    build=_build,
    deviations=(
        "Tasks are the ten domains of CLINC150, arriving one after the other; experts classify a domain's intents by "
        "centroids of embeddings, where the paper fine-tunes copies of a vision-language model.",
        "The router holds fifteen centroids per domain, of ten utterances per intent; no public code says what the "
        "paper's is.",
    ),
    limits=(
        "A model that can be trained on everything at once is better; routing pays where it cannot.",
        "Domains that share words are confused, and every confusion is a wrong answer.",
        "Loses .033 to one model trained on all domains at once, most of it where the router errs.",
    ),
    number=61,
    table="clinc150",
    measure=_measure,
)
