"""T2MIR: beside experts chosen by token, experts chosen by the task, which a contrastive loss makes the router see.

Source: "Mixture-of-Experts Meets In-Context Reinforcement Learning" (T2MIR), arXiv 2506.05426, 2025; code NJU-RL/T2MIR.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor

    from turnout.nn import RoutedLayer, RoutingContext

__all__ = ["T2MIR"]

DOMAINS, EXPERTS, HIDDEN, WIDTH = 4, 8, 24, 64
SEQUENCES, LENGTH, STEPS, RATE = 16, 8, 300, 3e-3
PATTERN = 0.05  # of a domain; one digit hardly shows it, a sequence does; chosen on a seed that is not reported


def _token_wise(balance: float = 0.01) -> RoutedLayer:
    from turnout.nn import FFN, Importance, LinearGate, RoutedLayer, TopK

    return RoutedLayer(
        LinearGate(WIDTH, EXPERTS), TopK(2), FFN(EXPERTS, WIDTH, HIDDEN), balancers=[Importance(balance)]
    )


def _task_wise(contrast: float) -> RoutedLayer:
    from turnout.nn import FFN, InfoNCE, LinearGate, RoutedLayer, SequenceGate, TopK

    balancers = [InfoNCE(EXPERTS, contrast)] if contrast else []
    gate = SequenceGate(LinearGate(WIDTH, EXPERTS))
    return RoutedLayer(gate, TopK(2), FFN(EXPERTS, WIDTH, HIDDEN), balancers=balancers)


def _build() -> Mapping[str, Any]:
    return {"token-wise": _token_wise(), "task-wise": _task_wise(0.1)}


def _network(kind: str) -> Any:
    """Digits [T, 64] of sequences → scores [T, 10], losses, and the task router's logits."""
    from torch import nn

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.leave = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
            self.token = _token_wise()
            self.task = _token_wise() if kind == "token-wise twice" else _task_wise(0.1 if kind == "t2mir" else 0.0)

        def forward(self, x_TD: Tensor, context: RoutingContext) -> tuple[Tensor, list[Tensor], Tensor]:
            hidden_TD = self.enter(x_TD)
            routed = [self.token(hidden_TD, context), self.task(hidden_TD, context)]
            scores_TC = self.leave((hidden_TD + routed[0].output + routed[1].output).relu())
            return scores_TC, [loss for one in routed for loss in one.losses.values()], routed[1].plan.logits_TE

    return Both()


def _sequences(x_ND: Tensor, label_N: Tensor, patterns: Tensor, index_T: Tensor, generator: Any) -> Any:
    """Sequences of digits of one hidden domain each: what is seen, labels shifted by the domain, and the context."""
    import torch

    from turnout.nn import RoutingContext

    count = len(index_T) // LENGTH
    domain_T = torch.randint(DOMAINS, (count,), generator=generator).repeat_interleave(LENGTH)
    context = RoutingContext(sequence_T=torch.arange(count).repeat_interleave(LENGTH), task_T=domain_T)
    return x_ND[index_T] + patterns[domain_T], (label_N[index_T] + 3 * domain_T) % 10, context


def _trained(kind: str, seed: int) -> Mapping[str, float]:
    import torch
    from torch.nn import functional as F

    from turnout.nn.beds.digits import accuracy, descend, digits

    found = digits(seed)
    patterns = PATTERN * torch.randn(DOMAINS, 64, generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    model, generator = _network(kind), torch.Generator().manual_seed(seed)

    def loss(index_T: Tensor) -> Tensor:
        x_TD, wanted_T, context = _sequences(found.train_ND, found.train_N, patterns, index_T, generator)
        scores_TC, extra, _ = model(x_TD, context)
        total: Tensor = F.cross_entropy(scores_TC, wanted_T) + sum(extra)
        return total

    rows = SEQUENCES * LENGTH
    descend(model, loss, len(found.train_ND), seed=seed, steps=STEPS, batch=rows, rate=RATE)
    generator = torch.Generator().manual_seed(1000 + seed)
    sides = {}
    with torch.no_grad():
        for side, x_ND, label_N in (("train", found.train_ND, found.train_N), ("test", found.test_ND, found.test_N)):
            index_T = torch.randint(len(x_ND), (128 * LENGTH,), generator=generator)
            x_TD, wanted_T, context = _sequences(x_ND, label_N, patterns, index_T, generator)
            scores_TC, _, logits_TE = model(x_TD, context)
            mean_SE = logits_TE.view(-1, LENGTH, EXPERTS).mean(1)
            sides[side] = (mean_SE, context.task_T[::LENGTH], accuracy(scores_TC, wanted_T))
    centres_LE = torch.stack([sides["train"][0][sides["train"][1] == domain].mean(0) for domain in range(DOMAINS)])
    nearest_SL = -torch.cdist(sides["test"][0], centres_LE)
    return {"accuracy": sides["test"][2], "domain read from the router": accuracy(nearest_SL, sides["test"][1])}


def _measure(system: System, run: Run) -> Figures:
    names = ("t2mir", "without the contrastive loss", "token-wise twice")
    return compare(
        system,
        run,
        {name: partial(_trained, name) for name in names},
        metric="accuracy",
        against="without the contrastive loss",
        better="higher",
        table="sequences of digits of four hidden domains",
        protocol=f"{SEQUENCES} sequences of {LENGTH} digits a step, a faint pattern and shifted labels by domain; two "
        f"layers side by side of {EXPERTS} experts of {HIDDEN} hidden units, top-2; {STEPS} steps; the domain is read "
        "by the nearest mean of the second router's logits over a sequence",
    )


T2MIR = System(
    name="t2mir",
    number=45,
    title="T2MIR",
    level="in-model",
    claim=Claim(
        "Token-wise and task-wise experts side by side, the task router trained by InfoNCE, outperform various "
        "baselines of in-context reinforcement learning.",
        "arXiv 2506.05426, abstract",
    ),
    parts=(
        "gate:linear_gate",
        "gate:sequence_gate",
        "selector:top_k",
        "experts:ffn",
        "balancer:importance",
        "balancer:info_nce",
    ),
    novelty="balancer",
    build=_build,
    measure=_measure,
    table="digits in sequences",
    deviations=(
        "Sequences of digits with a hidden domain stand for trajectories of a task; no reinforcement learning.",
        "Outputs of both layers are summed, there two layers of half the width are joined.",
        "InfoNCE of weight .1 between the sequences of one batch, without the momentum copy of the gate; there .01 or "
        ".001, between pairs of trajectories of a task.",
        "The task-wise layer always routes a sequence as one; so do about half of the authors' configurations, the "
        "others route each token and average for the loss alone.",
        "Linear gates without noise, importance alone at .01; there two layers with a tanh, noise on the token-wise "
        "gate, importance and load at .1 or .01.",
    ),
    limits=(
        "Routing by the mean of a sequence sees its end at its start: for prompts and trajectories that are known.",
        "The contrastive loss needs task labels in training.",
    ),
    code="github.com/NJU-RL/T2MIR",
)
