"""MoFME: experts that are modulations of one shared network.

Source: Zhang et al., "Efficient Deweather Mixture-of-Experts with Uncertainty-aware Feature-wise Linear Modulation",
AAAI 2024; code RoyZry98/MoFME-Pytorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor

    from turnout.nn import RoutedLayer

__all__ = ["MOFME"]

EXPERTS, CHOSEN, WIDTH, HIDDEN, STEPS = 4, 2, 64, 128, 600


def _layer(kind: str) -> RoutedLayer:
    from turnout.nn import FFN, LinearGate, Modulation, RoutedLayer, SwitchLoss, TopK
    from turnout.nn.base import Experts

    pools: dict[str, Callable[[], Experts]] = {
        "modulated": lambda: Modulation(EXPERTS, WIDTH, HIDDEN, mapped=False),
        "separate": lambda: FFN(EXPERTS, WIDTH, HIDDEN, activation="gelu", gated=False),
        "one": lambda: FFN(1, WIDTH, HIDDEN, activation="gelu", gated=False),
    }
    pool = pools[kind]()
    return RoutedLayer(LinearGate(WIDTH, pool.experts), TopK(min(CHOSEN, pool.experts)), pool, balancers=[SwitchLoss()])


def _build() -> Mapping[str, Any]:
    return {"layer": _layer("modulated")}


def _spoilt(x_BD: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Each image under one of four corruptions, and which: noise, missing pixels, a veil, a stripe."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    kind_B = torch.randint(4, (len(x_BD),), generator=generator)
    noise_BD = x_BD + 0.3 * torch.randn(x_BD.shape, generator=generator)
    missing_BD = x_BD * (torch.rand(x_BD.shape, generator=generator) > 0.4)
    veil_BD = 0.4 * x_BD + 0.6 * torch.rand(len(x_BD), 1, generator=generator)
    stripe_BD = x_BD.clone().view(-1, 8, 8)
    rows_B = torch.randint(7, (len(x_BD),), generator=generator)
    for offset in (0, 1):
        stripe_BD[torch.arange(len(x_BD)), rows_B + offset] = 1.0
    every_4BD = torch.stack([noise_BD, missing_BD, veil_BD, stripe_BD.flatten(1)])
    return every_4BD[kind_B, torch.arange(len(x_BD))], kind_B


def _measured(kind: str, seed: int) -> Mapping[str, float]:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from turnout.nn.beds.digits import descend, digits

    found = digits(seed)
    torch.manual_seed(seed)
    enter, layer, leave = nn.Linear(64, WIDTH), _layer(kind), nn.Linear(WIDTH, 64)
    model = nn.ModuleList([enter, layer, leave])

    def restored(x_BD: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        hidden_BW = F.gelu(enter(x_BD))
        routed = layer(hidden_BW)
        out_BD: Tensor = leave(hidden_BW + routed.output)
        return out_BD, routed.losses

    def loss(index_B: Tensor) -> Tensor:
        x_BD = found.train_ND[index_B]
        out_BD, losses = restored(_spoilt(x_BD, int(index_B.sum()))[0])
        return F.mse_loss(out_BD, x_BD) + sum(losses.values())

    descend(model, loss, len(found.train_ND), seed=seed, steps=STEPS)
    with torch.no_grad():
        out_ND, _ = restored(_spoilt(found.test_ND, seed)[0])
        psnr = -10 * torch.log10(F.mse_loss(out_ND, found.test_ND))
    return {
        "PSNR (dB)": float(psnr),
        "parameters of the layer": float(sum(p.numel() for p in layer.parameters())),
    }


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {
            "mofme": partial(_measured, "modulated"),
            "separate experts": partial(_measured, "separate"),
            "one dense network": partial(_measured, "one"),
        },
        metric="PSNR (dB)",
        against="separate experts",
        better="higher",
        table="digits under four corruptions",
        protocol=f"noise, missing pixels, a veil or a stripe, unknown to the model; {EXPERTS} experts of {HIDDEN} "
        f"hidden units, {CHOSEN} active, {STEPS} steps",
    )


MOFME = System(
    name="mofme",
    number=80,
    title="MoFME",
    level="in-model",
    claim=Claim(
        "Modulations of one shared network restore images .1 to .2 dB better than separate experts, with 72 % fewer "
        "parameters and 39 % less time.",
        "abstract, its figures at second hand",
    ),
    parts=("gate:linear_gate", "selector:top_k", "experts:modulation", "balancer:switch_loss"),
    novelty="experts",
    build=_build,
    measure=_measure,
    table="digits under four corruptions",
    deviations=(
        "The router is a plain top-k softmax: the authors' uncertainty-aware one whitens stochastic samples, which in "
        "their public code differ only where the selection is noisy.",
        "Scale and shift per expert are vectors, so that an expert adds 2 D numbers; `mapped=True` gives the authors' "
        "linear maps of the shared output.",
        "The shared network is a GELU block of 128 hidden units, theirs GELU(W₁ x) ∘ W₂ x at the width of the tokens; "
        "the switch loss is ours.",
    ),
    limits=("Experts cannot differ in what they compute inside the shared network.",),
    code="github.com/RoyZry98/MoFME-Pytorch",
)
