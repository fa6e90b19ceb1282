"""YOLO-Master's ES-MoE: one choice per image among convolutions of different kernels.

Source: Lin et al., "YOLO-Master: MOE-Accelerated with Specialized Transformers for Enhanced Real-time Detection", arXiv
2512.23273, CVPR 2026; code Tencent/YOLO-Master.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor, nn

    from turnout.nn import RoutedLayer
    from turnout.nn.base import Selector

__all__ = ["YOLO_MASTER"]

CHANNELS, KERNELS, CHOSEN, STEPS = 12, (1, 3, 5, 7), 2, 300
WIDTH = CHANNELS * 64


def _convolution(kernel: int) -> nn.Module:
    """A depthwise-separable convolution on rows [n, C · 8 · 8]."""
    from torch import nn

    return nn.Sequential(
        nn.Unflatten(1, (CHANNELS, 8, 8)),
        nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=kernel // 2, groups=CHANNELS),
        nn.Conv2d(CHANNELS, CHANNELS, 1),
        nn.ReLU(),
        nn.Flatten(),
    )


def _layer(kind: str) -> RoutedLayer:
    from turnout.nn import LinearGate, Modules, RandomChoice, RoutedLayer, SwitchLoss, TopK, ZLoss

    select: Selector = RandomChoice(CHOSEN) if kind == "random" else TopK(CHOSEN)
    pool = Modules([_convolution(kernel) for kernel in KERNELS])
    return RoutedLayer(LinearGate(WIDTH, len(KERNELS)), select, pool, balancers=[SwitchLoss(0.01), ZLoss(1e-3)])


def _build() -> Mapping[str, Any]:
    return {"layer": _layer("routed")}


def _cluttered(x_BD: Tensor, seed: int) -> Tensor:
    """Half the images finely speckled, half under a coarse shadow: what helps one kernel hurts another."""
    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(seed)
    speckle_BD = x_BD + 0.5 * torch.randn(x_BD.shape, generator=generator)
    blot = torch.randn(len(x_BD), 1, 3, 3, generator=generator)
    shadow_BD = x_BD + 0.7 * F.interpolate(blot, size=(8, 8), mode="bilinear").flatten(1)
    fine_B = torch.rand(len(x_BD), 1, generator=generator) < 0.5
    return torch.where(fine_B, speckle_BD, shadow_BD)


def _measured(kind: str, seed: int) -> Mapping[str, float]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from turnout.nn.beds.digits import CLASSES, accuracy, descend, digits

    found = digits(seed)
    torch.manual_seed(seed)
    stem = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU(), nn.Flatten())
    # the two largest kernels for every image: more work than two of four
    dense = nn.ModuleList(_convolution(kernel) for kernel in KERNELS[-CHOSEN:])
    layer, head = _layer(kind), nn.Linear(CHANNELS, CLASSES)

    def scores(x_BD: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        hidden_BW = stem(x_BD)
        if kind == "dense":
            y_BW, losses = sum(part(hidden_BW) for part in dense) / len(dense), {}
        else:
            y_BW, losses, _, _ = layer(hidden_BW)
        pooled_BC = (hidden_BW + y_BW).view(-1, CHANNELS, 64).amax(-1)
        return head(pooled_BC), losses

    def loss(index_B: Tensor) -> Tensor:
        out_BC, losses = scores(_cluttered(found.train_ND[index_B], int(index_B.sum())))
        return F.cross_entropy(out_BC, found.train_N[index_B]) + sum(losses.values())

    descend(nn.ModuleList([stem, dense, layer, head]), loss, len(found.train_N), seed=seed, steps=STEPS)
    seen_ND = _cluttered(found.test_ND.repeat(4, 1), 1000 + seed)
    with torch.no_grad():
        return {"accuracy": accuracy(scores(seen_ND)[0], found.test_N.repeat(4))}


def _measure(system: System, run: Run) -> Figures:
    names = {"routed": "two of four kernels by image", "dense": "kernels 5 and 7 for all", "random": "two at random"}
    return compare(
        system,
        run,
        {title: partial(_measured, kind) for kind, title in names.items()},
        metric="accuracy",
        against=names["dense"],
        better="higher",
        table="cluttered digits",
        protocol=f"speckled or shadowed digits; {CHANNELS} channels, {STEPS} steps; two convolutions an image "
        "throughout",
    )


YOLO_MASTER = System(
    name="yolo_master",
    number=105,
    title="YOLO-Master (ES-MoE)",
    level="in-model",
    claim=Claim(
        "42.4 AP on COCO at 1.62 ms, .8 above YOLOv13-N and 17.8 % faster, by routing images to convolutions.",
        "repository README",
    ),
    parts=(
        "gate:linear_gate",
        "selector:top_k",
        "experts:modules",
        "balancer:switch_loss",
        "balancer:z_loss",
    ),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="cluttered digits",
    deviations=(
        "The gate is linear in the image's features; the authors pool, convolve, take softmax and average over places, "
        "with noise on the logits in training.",
        "Loss coefficients of .01 and .001; the repository's defaults, which have changed since, are 1.",
        "A classifier of 8 × 8 digits instead of a detector.",
    ),
    limits=("Modules run one after the other, so nothing is faster here; the figure is accuracy at equal work.",),
    code="github.com/Tencent/YOLO-Master",
)
