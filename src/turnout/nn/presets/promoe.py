"""ProMoE: diffusion tokens choose an expert by cosine to a prototype; a contrastive loss keeps prototypes apart.

Source: Wei et al., "Routing Matters in MoE: Scaling Diffusion Transformers with Explicit Routing Guidance", arXiv
2510.24711, ICLR 2026; code ali-vilab/ProMoE.
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

__all__ = ["PROMOE"]

EXPERTS, WIDTH, HIDDEN, LAYERS = 8, 64, 64, 2
STEPS, BATCH, RATE, DROPPED = 400, 128, 3e-3, 0.1
UNCONDITIONAL = 10  # the label of a token whose class was dropped


def _prototypical(contrast: float) -> RoutedLayer:
    """Eight experts with prototypes, one kept for unconditional tokens, and a shared one."""
    from turnout.nn import FFN, ContrastivePrototypes, PrototypeGate, RoutedLayer, TopK
    from turnout.nn.beds.model import DenseBlock

    return RoutedLayer(
        PrototypeGate(WIDTH, EXPERTS + 1),
        TopK(1, score="identity", normalize=False),
        FFN(EXPERTS + 1, WIDTH, HIDDEN, activation="gelu", gated=False),
        balancers=[ContrastivePrototypes(contrast, only=EXPERTS)] if contrast else (),
        shared=DenseBlock(WIDTH, HIDDEN),
    )


def _balanced() -> RoutedLayer:
    """The token-choice baseline: a linear gate and the switch loss over as many experts."""
    from turnout.nn import FFN, LinearGate, RoutedLayer, SwitchLoss, TopK
    from turnout.nn.beds.model import DenseBlock

    return RoutedLayer(
        LinearGate(WIDTH, EXPERTS + 1),
        TopK(1, normalize=False),
        FFN(EXPERTS + 1, WIDTH, HIDDEN, activation="gelu", gated=False),
        balancers=[SwitchLoss(0.01)],
        shared=DenseBlock(WIDTH, HIDDEN),
    )


def _build() -> Mapping[str, Any]:
    return {"layer": _prototypical(1.0)}


def _hands(label_T: Tensor) -> Tensor:
    """What is added to logits [T, E + 1]: unconditional tokens see the last expert only, the others all but it."""
    import torch

    kept_T1 = (label_T == UNCONDITIONAL)[:, None]
    last_E = torch.arange(EXPERTS + 1) == EXPERTS
    return torch.where(kept_T1 == last_E, 0.0, float("-inf"))


def _network(kind: str) -> Any:
    """A residual flow network over whole images: [B, 64] at a time and with a label → velocity and routings."""
    from torch import nn

    from turnout.nn import Override, RoutingContext
    from turnout.nn.beds.model import DenseBlock
    from turnout.nn.layer import Routed

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.time = nn.Linear(64, WIDTH), nn.Linear(16, WIDTH)
            self.label = nn.Embedding(UNCONDITIONAL + 1, WIDTH)
            blocks: Mapping[str, Callable[[], nn.Module]] = {
                "promoe": partial(_prototypical, 1.0),
                "prototypes alone": partial(_prototypical, 0.0),
                "linear + switch": _balanced,
                "dense": lambda: DenseBlock(WIDTH, 2 * HIDDEN),
            }
            self.blocks = nn.ModuleList(blocks[kind]() for _ in range(LAYERS))
            self.norms = nn.ModuleList(nn.RMSNorm(WIDTH) for _ in range(LAYERS + 1))
            self.out = nn.Linear(WIDTH, 64)

        def forward(self, x_BD: Tensor, time_BF: Tensor, label_B: Tensor) -> tuple[Tensor, list[Routed]]:
            hidden_BD, passed = self.image(x_BD) + self.time(time_BF) + self.label(label_B), []
            apart = kind in ("promoe", "prototypes alone")
            context = RoutingContext(overrides={0: Override(add=_hands(label_B))} if apart else {})
            for norm, block in zip(self.norms[:-1], self.blocks, strict=True):
                found = block(norm(hidden_BD)) if kind == "dense" else block(norm(hidden_BD), context)
                if isinstance(found, Routed):
                    passed.append(found)
                    found = found.output
                hidden_BD = hidden_BD + found
            return self.out(self.norms[-1](hidden_BD)), passed

    return Flow()


def _trained(kind: str, seed: int) -> Mapping[str, float]:
    import torch
    from sklearn.metrics import normalized_mutual_info_score
    from torch.nn import functional as F

    from turnout.nn.beds.digits import descend, digits, flowed

    found = digits(seed)
    data_ND, label_N = 2 * found.train_ND - 1, found.train_N
    torch.manual_seed(seed)
    model, generator = _network(kind), torch.Generator().manual_seed(seed)

    def loss(index_B: Tensor) -> Tensor:
        x_BD, time_BF, velocity_BD = flowed(data_ND[index_B], generator)
        dropped_B = torch.rand(len(index_B), generator=generator) < DROPPED
        flow_BD, passed = model(x_BD, time_BF, torch.where(dropped_B, UNCONDITIONAL, label_N[index_B]))
        extra = sum(loss for routed in passed for loss in routed.losses.values())
        total: Tensor = F.mse_loss(flow_BD, velocity_BD) + extra
        return total

    descend(model, loss, len(data_ND), seed=seed, steps=STEPS, batch=BATCH, rate=RATE)
    generator = torch.Generator().manual_seed(1000 + seed)
    label_N = found.test_N.repeat(8)
    with torch.no_grad():
        x_ND, time_NF, velocity_ND = flowed((2 * found.test_ND - 1).repeat(8, 1), generator)
        flow_ND, passed = model(x_ND, time_NF, label_N)
    chosen = [routed.plan.idx_TK[:, 0].numpy() for routed in passed]
    purity = [float(normalized_mutual_info_score(label_N.numpy(), one)) for one in chosen]
    used = [len(set(one.tolist())) for one in chosen]
    return {
        "flow loss": float((flow_ND - velocity_ND).square().mean()),
        "NMI of expert and class": sum(purity) / max(1, len(purity)),
        "experts in use": sum(used) / max(1, len(used)),
    }


def _measure(system: System, run: Run) -> Figures:
    names = ("promoe", "prototypes alone", "linear + switch", "dense")
    return compare(
        system,
        run,
        {name: partial(_trained, name) for name in names},
        metric="flow loss",
        against="linear + switch",
        table="class-conditional rectified flow on digits",
        protocol=f"a digit is a token; {LAYERS} residual layers of width {WIDTH}, one of {EXPERTS} experts of {HIDDEN} "
        f"hidden units beside a shared one, dense: {2 * HIDDEN}; {STEPS} steps of {BATCH}, classes dropped for "
        f"{DROPPED:.0%}; loss on held-out digits with their class at random times",
    )


PROMOE = System(
    name="promoe",
    number=89,
    title="ProMoE",
    level="in-model",
    claim=Claim(
        "Diffusion transformers with prototypical routing and a contrastive loss surpass the state of the art on "
        "ImageNet under rectified flow and DDPM.",
        "abstract",
    ),
    parts=("gate:prototype_gate", "selector:top_k", "experts:ffn", "balancer:contrastive_prototypes"),
    novelty="gate",
    build=_build,
    measure=_measure,
    table="digits flow",
    deviations=(
        "A token is a whole digit in a residual network, there a patch in a transformer; flow loss instead of FID.",
        "The expert kept for unconditional tokens is laid on by the layer's override, not by a gate of its own, and "
        "weighs its cosine as the others do.",
    ),
    limits=(
        "The loss does what it says (NMI of expert and class .45 without it, .85 with it) and costs .06 of flow loss "
        "here; that its gradient reaches the tokens too may be why, which was not tested.",
        "Nothing balances load but the prototypes' own distance: an expert that wins no token gets no gradient.",
        "A label must say which tokens are unconditional.",
    ),
    code="github.com/ali-vilab/ProMoE",
)
