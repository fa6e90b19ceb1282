"""DynaMoE: a threshold on scores decides how many experts a token gets, a schedule how many experts a layer has.

Source: Gülmez, "DynaMoE: Dynamic Token-Level Expert Activation with Layer-Wise Adaptive Capacity for Mixture-of-Experts
Neural Networks", arXiv 2603.01697, 2026; no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

__all__ = ["DYNAMOE"]

WIDTH, HIDDEN, LAYERS, TOTAL, ACTIVE = 48, 16, 4, 20, 2
STEPS, LABELS = 200, 300
SCHEDULES: Mapping[str, Sequence[int]] = {
    "descending": (8, 6, 4, 2),
    "uniform": (5, 5, 5, 5),
    "ascending": (2, 4, 6, 8),
}


def _layers(counts: Sequence[int]) -> list[Any]:
    from turnout.nn import FFN, LinearGate, RoutedLayer, SwitchLoss, Threshold

    return [
        RoutedLayer(
            LinearGate(WIDTH, experts),
            Threshold(k=min(ACTIVE, experts), max_k=experts, normalize=True),
            FFN(experts, WIDTH, HIDDEN, activation="relu", gated=False),
            balancers=[SwitchLoss(0.01)],
        )
        for experts in counts
    ]


def _build() -> Mapping[str, Any]:
    return {"layers": tuple(_layers(SCHEDULES["descending"]))}


def _trained(counts: Sequence[int], seed: int) -> Mapping[str, float]:
    """Accuracy on unseen digits of a residual stack that ends in a linear head."""
    import torch
    from torch import nn

    from turnout.nn import update_biases
    from turnout.nn.beds.digits import accuracy, digits
    from turnout.nn.plan import RoutingContext

    found = digits(seed)
    x_ND, y_N = found.train_ND[:LABELS], found.train_N[:LABELS]
    torch.manual_seed(seed)
    enter, leave, layers = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10), nn.ModuleList(_layers(counts))
    model = nn.ModuleList([enter, layers, leave])

    def run(rows_ND: Any) -> tuple[Any, Any, float]:
        h, losses, active = enter(rows_ND), 0.0, 0.0
        for number, layer in enumerate(layers):
            routed = layer(nn.functional.rms_norm(h, (WIDTH,)), RoutingContext(layer=number))
            h = h + routed.output
            losses = losses + routed.losses["switch_loss"]
            active += float(routed.plan.counts_E.sum()) / routed.plan.tokens
        return leave(h), losses, active / len(layers)

    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        rows = torch.randint(len(x_ND), (64,), generator=generator)
        scores, losses, _ = run(x_ND[rows])
        optimizer.zero_grad()
        (nn.functional.cross_entropy(scores, y_N[rows]) + losses).backward()
        optimizer.step()
        update_biases(model)
    model.eval()
    with torch.no_grad():
        scores, _, active = run(found.test_ND)
    return {"accuracy": accuracy(scores, found.test_N), "experts a layer and image": active}


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {name: partial(_trained, counts) for name, counts in SCHEDULES.items()},
        metric="accuracy",
        against="uniform",
        better="higher",
        table="digits",
        protocol=f"{LAYERS} layers, {TOTAL} experts in all, {ACTIVE} an image and layer on average, {LABELS} training "
        f"images, {STEPS} steps; the claim is that a descending schedule is best on images",
    )


DYNAMOE = System(
    name="dynamoe",
    number=40,
    title="DynaMoE",
    level="in-model",
    claim=Claim(
        "With token-level dynamic routing, descending schedules of experts per layer beat uniform ones by up to 5.47 % "
        "on image classification.",
        "arXiv 2603.01697v1, abstract",
    ),
    parts=("selector:threshold", "gate:linear_gate", "balancer:switch_loss", "experts:ffn"),
    novelty="selector",
    build=_build,
    measure=_measure,
    table="digits",
    deviations=(
        "The percentile is over the batch; over a token's own scores it passes a fixed number by construction.",
        "8 × 8 digits with 300 training images in place of MNIST, Fashion-MNIST and CIFAR-10.",
    ),
    limits=(
        "The best schedule differs by task and size: of the paper's language models only the smallest prefers it.",
    ),
)
