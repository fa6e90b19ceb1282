"""Hecto: a sparse gate between experts of different kinds, a GRU for order and a feed-forward network for content.

Source: Pandey et al., "Hecto: Modular Sparse Experts for Adaptive and Interpretable Reasoning", arXiv 2506.22919, 2025;
weights, but no training code, are public.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import nn

__all__ = ["HECTO"]

ROWS, STEPS, HIDDEN, BAG, SLACK = 4000, 250, 24, 96, 0.02


def _layer(kinds: tuple[str, ...]) -> Any:
    from turnout.nn import LinearGate, Modules, RoutedLayer, SwitchLoss, TopK
    from turnout.nn.beds.order import LENGTH, VOCABULARY, Bag, Ordered

    def expert(kind: str) -> nn.Module:
        return Ordered(VOCABULARY, HIDDEN, 2) if kind == "gru" else Bag(VOCABULARY, BAG, 2)

    return RoutedLayer(
        LinearGate(LENGTH * VOCABULARY, len(kinds)),
        TopK(1, normalize=False),
        Modules([expert(kind) for kind in kinds]),
        balancers=[SwitchLoss(0.01)],
    )


def _build() -> Mapping[str, Any]:
    return {"layer": _layer(("gru", "ffn"))}


def _trained(kinds: tuple[str, ...], seed: int) -> Mapping[str, float]:
    """Accuracy on fresh sentences; where a GRU stands beside an FFN, the share of order questions it gets."""
    import torch
    from torch.nn import functional as F

    from turnout.nn.beds.digits import descend
    from turnout.nn.beds.order import VOCABULARY, sentences

    train, test = sentences(ROWS, 2 * seed), sentences(1000, 2 * seed + 1)
    torch.manual_seed(seed)
    layer = _layer(kinds)

    def rows(ids_NS: Any) -> Any:
        return F.one_hot(ids_NS, VOCABULARY).float().flatten(1)

    def loss(index_B: Any) -> Any:
        routed = layer(rows(train.ids_NS[index_B]))
        return F.cross_entropy(routed.output, train.label_N[index_B]) + sum(routed.losses.values())

    descend(layer, loss, ROWS, seed=seed, steps=STEPS, rate=5e-3)
    with torch.no_grad():
        routed = layer(rows(test.ids_NS))
    right_N = (routed.output.argmax(-1) == test.label_N).float()
    first_N = (routed.plan.idx_TK[:, 0] == 0).float()
    apart = float(first_N[test.order_N].mean() - first_N[~test.order_N].mean())
    return {
        "specialisation": apart if "ffn" in kinds and "gru" in kinds else abs(apart),
        "accuracy": float(right_N.mean()),
        "accuracy, order": float(right_N[test.order_N].mean()),
        "accuracy, content": float(right_N[~test.order_N].mean()),
        "error": 1 - float(right_N.mean()),
    }


def _measure(system: System, run: Run) -> Figures:
    kinds = {"hecto: GRU and FFN": ("gru", "ffn"), "two GRUs": ("gru", "gru"), "two FFNs": ("ffn", "ffn")}
    return compare(
        system,
        run,
        {name: partial(_trained, experts) for name, experts in kinds.items()},
        metric="specialisation",
        against="two GRUs",
        better="higher",
        within={"error": SLACK},
        table="drawn sentences",
        protocol=f"{ROWS} sentences, {STEPS} steps; half the questions need the order of words. Specialisation is "
        "the share of order questions that the GRU gets less that of content questions, without its sign where both "
        f"experts are alike; the price may be {SLACK} of accuracy",
    )


HECTO = System(
    name="hecto",
    number=137,
    title="Hecto",
    level="in-model",
    claim=Claim(
        "A gated GRU and FFN match or closely trail homogeneous baselines on four text tasks with clear specialisation "
        "of each expert.",
        "abstract",
    ),
    parts=("experts:modules", "gate:linear_gate", "selector:top_k", "balancer:switch_loss"),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="sentences",
    deviations=(
        "Drawn sentences instead of an encoder on AG News, SST-2, HotpotQA and STS-B; the gate reads all of a "
        "sentence, theirs the encoder's first token.",
        "The switch loss keeps both experts alive; the authors' model card names an entropy and a diversity term.",
    ),
    limits=(
        "The gate must be able to see which kind of question it has.",
        "The gate reads every place of a sentence, so it can sort by order itself: two FFNs do nearly as well here.",
    ),
)
