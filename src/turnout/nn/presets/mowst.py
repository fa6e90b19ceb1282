"""Mowst: a weak network answers where it is sure of itself, a strong graph network elsewhere.

Source: Zeng et al., "Mixture of Weak & Strong Experts on Graphs", ICLR 2024; code facebookresearch/mowst-gnn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.digits import Graph

__all__ = ["MOWST"]

HIDDEN, STEPS, RATE, DROPOUT = 64, 200, 1e-2, 0.5


def _build() -> Mapping[str, Any]:
    from turnout.nn import ConfidenceGate, Modules, RoutedLayer, Soft
    from turnout.nn.beds.digits import network

    weak, strong = network(64, 16, 10), network(64, HIDDEN, 10)
    return {"layer": RoutedLayer(ConfidenceGate(weak), Soft(), Modules([weak, strong]))}


def _mowst(seed: int) -> Mapping[str, float]:
    """Weak and strong trained in turns, each on its own share of the confidence-weighted loss."""
    import torch
    from torch.nn import functional as F

    from turnout.nn import ConfidenceGate
    from turnout.nn.beds.digits import GraphNetwork, graph, network

    found = graph(seed)
    torch.manual_seed(seed)
    weak, strong = network(64, HIDDEN, 10, DROPOUT), GraphNetwork(found.adjacency_NN, 64, HIDDEN, 10, DROPOUT)
    gate = ConfidenceGate(weak, detach=False)
    turns = [
        torch.optim.Adam([*weak.parameters(), *gate.parameters()], RATE, weight_decay=5e-4),
        torch.optim.Adam(strong.parameters(), RATE, weight_decay=5e-4),
    ]
    for step in range(2 * STEPS):
        sure_N = gate.confidence(found.x_ND)[found.train_N]
        lost_2N = [
            F.cross_entropy(expert(found.x_ND)[found.train_N], found.label_N[found.train_N], reduction="none")
            for expert in (weak, strong)
        ]
        for optimizer in turns:
            optimizer.zero_grad()
        (sure_N * lost_2N[0] + (1 - sure_N) * lost_2N[1]).mean().backward()  # type: ignore[no-untyped-call]
        turns[step % 2].step()
    for expert in (weak, strong):
        expert.eval()
    with torch.no_grad():
        sure_N = gate.confidence(found.x_ND)[found.test_N]
        right_2N = [_right(found, expert(found.x_ND)) for expert in (weak, strong)]
    # u ~ U(0, 1) hands a node to the strong expert where u > C, so these are the expectations over u
    return {
        "accuracy": float((sure_N * right_2N[0] + (1 - sure_N) * right_2N[1]).mean()),
        "nodes that skip the graph network": float(sure_N.mean()),
    }


def _alone(seed: int, kind: str) -> Mapping[str, float]:
    import torch
    from torch.nn import functional as F

    from turnout.nn.beds.digits import GraphNetwork, graph, network

    found = graph(seed)
    torch.manual_seed(seed)
    weak = kind == "weak"
    model = network(64, HIDDEN, 10, DROPOUT) if weak else GraphNetwork(found.adjacency_NN, 64, HIDDEN, 10, DROPOUT)
    optimizer = torch.optim.Adam(model.parameters(), RATE, weight_decay=5e-4)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(model(found.x_ND)[found.train_N], found.label_N[found.train_N]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right_N = _right(found, model(found.x_ND))
    return {"accuracy": float(right_N.mean()), "nodes that skip the graph network": float(kind == "weak")}


def _right(found: Graph, scores_NC: Any) -> Any:
    return (scores_NC.argmax(-1) == found.label_N)[found.test_N].float()


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {
            "mowst": _mowst,
            "graph network alone": lambda seed: _alone(seed, "strong"),
            "weak network alone": lambda seed: _alone(seed, "weak"),
        },
        metric="accuracy",
        against="graph network alone",
        better="higher",
        table="nearest-neighbour graph of noisy digits",
        protocol="1,797 nodes, 90 labels a class, features under noise of σ = 0.4; both experts have 64 hidden units, "
        "dropout 0.5 and 200 steps each",
    )


MOWST = System(
    name="mowst",
    number=21,
    title="Mowst",
    level="in-model",
    claim=Claim(
        "A weak network and a strong graph network, joined by the weak one's confidence, gain significant accuracy on "
        "6 graphs with 4 graph networks at about the cost of one.",
        "abstract",
    ),
    parts=("gate:confidence_gate", "selector:soft", "experts:modules"),
    novelty="gate",
    build=_build,
    measure=_measure,
    table="digits graph",
    deviations=(
        "Confidence is a function of the variance alone, monotone by construction; the code's network reads variance "
        "and entropy, in some runs the node's features too, and nothing makes it monotone.",
        "Turns of one step, both from the start; the authors train the graph network first.",
        "A small graph network of two layers on a nearest-neighbour graph; the authors use six public graphs.",
    ),
    limits=(
        "A weak expert that is surely wrong keeps its nodes: with 20 labels a class and no dropout the weak one fits "
        "its labels by heart, trusts itself everywhere, and the whole loses .29 here.",
        "On this graph neighbours tell nearly all, so the gate leaves the nodes to the graph network.",
    ),
    code="github.com/facebookresearch/mowst-gnn",
)
