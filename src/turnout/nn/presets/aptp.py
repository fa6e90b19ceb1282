"""APTP: each input is sent to one of a few pruned copies of a network, chosen by a balanced code book.

Source: Ganjdanesh et al., "Not All Prompts Are Made Equal: Prompt-based Pruning of Text-to-Image Diffusion Models",
2024; code rezashkv/diffusion_pruning.
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
    from turnout.nn.base import Experts

__all__ = ["APTP"]

CODES, HIDDEN, TARGET = 8, 96, 0.6
SHARPNESS, ROUNDS, SOFT, RESOURCE = 0.05, 3, 0.4, 2.0  # the repository's settings
BASE = 0.5  # where gates start; 3 in the repository, which 300 steps cannot leave
STEPS, BATCH, RATE = 300, 128, 3e-3
NOISES = (0.0, 0.3, 0.6, 0.9)


def _masked(codes: int) -> Experts:
    """One network 64 → H → 10 and a mask of hidden units per code, drawn while training, fixed afterwards."""
    import torch
    from torch import nn

    from turnout.nn import Modules

    class Masked(nn.Module):
        def __init__(self, first: nn.Linear, last: nn.Linear) -> None:
            super().__init__()
            self.first, self.last = first, last
            self.gates = nn.Parameter(0.5 * torch.randn(HIDDEN))

        def size(self) -> Tensor:
            """The share of hidden units that are kept."""
            return torch.sigmoid((self.gates + BASE) / SOFT).mean() if self.training else self.mask().mean()

        def mask(self) -> Tensor:
            if not self.training:
                return (self.gates + BASE > 0).float()
            uniform = torch.rand(HIDDEN).clamp(1e-6, 1 - 1e-6)
            soft = torch.sigmoid((self.gates + BASE + uniform.logit()) / SOFT)
            return (soft > 0.5).float() + soft - soft.detach()

        def forward(self, x_ND: Tensor) -> Tensor:
            scores_NC: Tensor = self.last(self.first(x_ND).relu() * self.mask())
            return scores_NC

    first, last = nn.Linear(64, HIDDEN), nn.Linear(HIDDEN, 10)
    pool: Experts = Modules([Masked(first, last) for _ in range(codes)])
    return pool


def _layer(kind: str) -> RoutedLayer:
    from turnout.nn import PrototypeGate, RandomChoice, RoutedLayer, Sinkhorn, TopK

    codes = 1 if kind == "one mask" else CODES
    selectors: dict[str, Callable[[], Any]] = {
        "aptp": lambda: Sinkhorn(1, share=1.0, sharpness=SHARPNESS, iterations=ROUNDS, normalize=False),
        "without balance": lambda: TopK(1, normalize=False),
        "random code": lambda: RandomChoice(1),
        "one mask": lambda: TopK(1),
    }
    return RoutedLayer(PrototypeGate(64, codes, projection=32, temperature=0.1), selectors[kind](), _masked(codes))


def _build() -> Mapping[str, Any]:
    return {"layer": _layer("aptp")}


def _sizes(layer: RoutedLayer) -> Tensor:
    import torch

    parts: Any = layer.experts.parts
    sizes: list[Tensor] = [part.size() for part in parts]
    return torch.stack(sizes)


def _trained(kind: str, seed: int) -> Mapping[str, float]:
    import torch
    from scipy.stats import spearmanr
    from torch.nn import functional as F

    from turnout.nn.beds.digits import accuracy, descend, digits

    found = digits(seed)
    torch.manual_seed(seed)
    layer, generator = _layer(kind), torch.Generator().manual_seed(seed)

    def noised(x_ND: Tensor) -> tuple[Tensor, Tensor]:
        level_N = torch.tensor(NOISES)[torch.randint(len(NOISES), (len(x_ND),), generator=generator)]
        return x_ND + level_N[:, None] * torch.randn(x_ND.shape, generator=generator), level_N

    def loss(index_B: Tensor) -> Tensor:
        routed = layer(noised(found.train_ND[index_B])[0])
        used_E = routed.plan.counts_E / len(index_B)
        ratio = (used_E * _sizes(layer)).sum() / TARGET
        weight_B1 = routed.plan.weights_TK
        scores_BC = routed.output / weight_B1.detach().clamp_min(1e-6)  # a code's size is its mask, not its weight
        total: Tensor = F.cross_entropy(scores_BC, found.train_N[index_B]) + RESOURCE * ratio.log().abs()
        return total

    descend(layer, loss, len(found.train_ND), seed=seed, steps=STEPS, batch=BATCH, rate=RATE)
    generator = torch.Generator().manual_seed(1000 + seed)
    with torch.no_grad():
        x_ND, level_N = noised(found.test_ND.repeat(4, 1))
        routed = layer(x_ND)
        size_N = _sizes(layer)[routed.plan.idx_TK[:, 0]]
    counts_E = routed.plan.counts_E.float()
    rank = 0.0 if float(size_N.std()) < 1e-6 else float(spearmanr(level_N.numpy(), size_N.numpy()).statistic)
    return {
        "accuracy": accuracy(routed.output, found.test_N.repeat(4)),
        "share of hidden units": size_N.mean().item(),
        "rank correlation of size and noise": rank,
        "codes in use": float((counts_E > 0).sum()),
    }


def _measure(system: System, run: Run) -> Figures:
    names = ("aptp", "one mask", "without balance", "random code")
    return compare(
        system,
        run,
        {name: partial(_trained, name) for name in names},
        metric="accuracy",
        against="one mask",
        better="higher",
        within={"share of hidden units": 0.03},
        table="digits under four levels of noise",
        protocol=f"one network of {HIDDEN} hidden units, {CODES} masks that keep {TARGET:.0%} of them on average, "
        f"{STEPS} steps of {BATCH}; held-out digits",
    )


APTP = System(
    name="aptp",
    number=65,
    title="APTP",
    level="in-model",
    claim=Claim(
        "Stable Diffusion 2.1 pruned per prompt by a balanced code book (8 sub-networks) has a better FID, CLIP score "
        "and CMMD than single-model pruning on CC3M and COCO.",
        "arXiv 2406.12042, abstract; the number of codes from the repository",
    ),
    parts=("gate:prototype_gate", "selector:sinkhorn", "experts:modules"),
    novelty="selector",
    build=_build,
    measure=_measure,
    table="noisy digits",
    deviations=(
        "A code is a mask of the hidden units of a small classifier, not of a diffusion model's width and depth.",
        "The code is chosen by cosine of a linear projection; there a hypernetwork makes an architecture vector, and "
        "cosines compare its gates with a code's.",
        "No contrastive loss between architectures and prompts and no distillation; gates start nearer to 0 (300 "
        "steps, not 5,000).",
    ),
    limits=(
        "Balance by transport holds in training only; at use the nearest code is taken.",
        "At this size codes hardly differ, so one mask does as well.",
    ),
    code="github.com/rezashkv/diffusion_pruning",
)
