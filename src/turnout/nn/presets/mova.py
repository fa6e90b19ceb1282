"""MoVA: a coarse router picks frozen encoders that suit the question, a fine one fuses them by cross-attention.

Source: Zong et al., "MoVA: Adapting Mixture of Vision Experts to Multimodal Context", 2024; code TempleX98/MoVA.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor, nn

    from turnout.nn.beds.digits import Digits

__all__ = ["MOVA"]

PLACES, FEATURES, HIDDEN, WIDTH = 4, 16, 64, 4 * 64 + 4
ROWS, STEPS, ALONE = 3000, 200, 150


def _encoders() -> list[nn.Module]:
    """One network per place of a picture of four digits, each blind to the other places."""
    from torch import nn

    from turnout.nn.beds.digits import network

    class Place(nn.Module):
        """The features of the digit at one place."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place, self.layers = place, network(64, HIDDEN, FEATURES)

        def forward(self, x_ND: Tensor) -> Tensor:
            features_NF: Tensor = self.layers(x_ND[:, 64 * self.place : 64 * (self.place + 1)])
            return features_NF

    return [Place(place) for place in range(PLACES)]


def _layer(encoders: list[nn.Module], fused: bool, chosen: int) -> Any:
    from turnout.nn import CrossAttention, LinearGate, Modules, RoutedLayer, SupervisedGate, TopK

    suits = [[float(task == place) for place in range(PLACES)] for task in range(PLACES)]
    return RoutedLayer(
        LinearGate(WIDTH, PLACES),
        TopK(chosen),
        Modules(encoders),
        combiner=CrossAttention(WIDTH, FEATURES) if fused else None,
        balancers=[SupervisedGate(suits, loss="cross_entropy")],
    )


def _build() -> Mapping[str, Any]:
    return {"layer": _layer(_encoders(), fused=True, chosen=2)}


def _asked(found: Digits, rows: int, seed: int, *, test: bool) -> tuple[Tensor, Tensor]:
    """Pictures of four digits with a question, which place is asked about, and the digit there."""
    import torch

    images_ND, labels_N = (found.test_ND, found.test_N) if test else (found.train_ND, found.train_N)
    generator = torch.Generator().manual_seed(seed)
    four_NP = torch.randint(len(images_ND), (rows, PLACES), generator=generator)
    place_N = torch.randint(PLACES, (rows,), generator=generator)
    question_NP = torch.nn.functional.one_hot(place_N, PLACES).float()
    x_ND = torch.cat([images_ND[four_NP].flatten(1), question_NP], dim=1)
    return x_ND, labels_N[four_NP].gather(1, place_N[:, None])[:, 0]


def _trained(kind: str, seed: int) -> Mapping[str, float]:
    """Encoders first, each on the digits of its place; then, with them frozen, the router, the fusion and a head."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from turnout.nn import RoutingContext
    from turnout.nn.beds.digits import accuracy, descend, digits

    found = digits(seed)
    torch.manual_seed(seed)
    encoders = _encoders()
    for place, encoder in enumerate(encoders):
        told = nn.Sequential(encoder, nn.Linear(FEATURES, 10))
        alone_ND = F.pad(found.train_ND, (64 * place, WIDTH - 64 * (place + 1)))
        descend(told, partial(_lost, told, alone_ND, found.train_N), len(alone_ND), seed=seed, steps=ALONE)
        encoder.requires_grad_(False)
    layer = _layer(encoders, fused=kind == "fused", chosen=PLACES if kind == "all" else 2)
    head = nn.Linear(WIDTH if kind == "fused" else FEATURES, 10)
    x_ND, y_N = _asked(found, ROWS, seed, test=False)

    def loss(index_B: Tensor) -> Tensor:
        routed = layer(x_ND[index_B], RoutingContext(task_T=x_ND[index_B, -PLACES:].argmax(1)))
        told_to: Tensor = routed.losses["supervised_gate"]
        return F.cross_entropy(head(routed.output), y_N[index_B]) + told_to

    descend(nn.ModuleList([layer, head]), loss, ROWS, seed=seed, steps=STEPS, rate=1e-2)
    x_test_ND, y_test_N = _asked(found, 1000, seed + 1, test=True)
    asked_N = x_test_ND[:, -PLACES:].argmax(1)
    with torch.no_grad():
        routed = layer(x_test_ND, RoutingContext(task_T=asked_N))
        hit_N = routed.plan.chosen_TE.gather(1, asked_N[:, None])[:, 0]
        return {
            "accuracy": accuracy(head(routed.output), y_test_N),
            "asked place among the chosen": float(hit_N.float().mean()),
            "encoders a picture": float(routed.plan.counts_E.sum()) / routed.plan.tokens,
        }


def _lost(model: nn.Module, x_ND: Tensor, label_N: Tensor, index_B: Tensor) -> Tensor:
    from torch.nn import functional as F

    return F.cross_entropy(model(x_ND[index_B]), label_N[index_B])


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {
            "mova: two of four, cross-attention": partial(_trained, "fused"),
            "two of four, weighted sum": partial(_trained, "summed"),
            "all four, weighted sum": partial(_trained, "all"),
        },
        metric="accuracy",
        against="two of four, weighted sum",
        better="higher",
        table="pictures of four digits",
        protocol=f"the question names a place; four frozen encoders, {ROWS} questions, {STEPS} steps for router, "
        "fusion and head",
        mechanism=True,
    )


MOVA = System(
    name="mova",
    number=120,
    title="MoVA",
    level="in-model",
    claim=Claim(
        "Choosing vision encoders by image and question and fusing them with an adapter gains significantly over the "
        "best models on a wide range of multimodal benchmarks.",
        "repository README",
    ),
    parts=(
        "combiner:cross_attention",
        "balancer:supervised_gate",
        "experts:modules",
        "gate:linear_gate",
        "selector:top_k",
    ),
    novelty="combiner",
    build=_build,
    measure=_measure,
    table="digits",
    deviations=(
        "A linear gate that is told which encoder suits a question stands for the language model that names encoders.",
        "The token attends over the chosen encoders' outputs, the gate's weights as its prior; there image features "
        "attend to each encoder's own map, and a gate on text and image sums what comes back.",
        "Encoders differ by place; the authors' differ by what they were trained for.",
    ),
    limits=("Fusion runs on every chosen encoder's output, so cost grows with their number.",),
    code="github.com/TempleX98/MoVA",
)
