"""SAME: a router that keeps its choices on old tasks while it learns new ones.

Source: Xie et al., "SAME: Stabilized Mixture-of-Experts for Multimodal Continual Instruction Tuning", arXiv 2602.01990,
ICML 2026; code LAMDA-CL/Prism.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from torch import Tensor

    from turnout.nn import RoutedLayer

__all__ = ["SAME"]

EXPERTS, RANK, SCALE, STEPS, SHARE = 8, 4, 4.0, 40, 0.95
ORDER = (0, 6, 1, 7)  # upper, doubled, rot13, code


def _layer(width: int, out: int) -> RoutedLayer:
    from turnout.nn import Fused, LinearGate, LoRA, RoutedLayer, SwitchLoss, TopK

    pool = LoRA(EXPERTS, width, out, rank=RANK, alpha=SCALE * RANK)
    return RoutedLayer(LinearGate(width, EXPERTS), TopK(2), pool, combiner=Fused(), balancers=[SwitchLoss(0.01)])


def _build() -> Mapping[str, Any]:
    from turnout.nn.adapters import Protected

    layer = _layer(64, 64)
    gate: Any = layer.gate
    return {"layer": layer, "protected": Protected(gate.linear.weight, share=SHARE)}


def _measured(name: str, seed: int, data: Path | None) -> Mapping[str, float]:
    """Sequential tasks; whether tokens of a task still go where they went when it had just been learned."""
    from turnout.nn.adapters import Protected, adapted
    from turnout.nn.beds.mixtures import forgetting, made, sequence

    model = made(data, seed, lambda linear, _: _layer(linear.in_features, linear.out_features))
    layers = adapted(model)
    kept = {key: Protected(layer.layer.gate.linear.weight, share=SHARE) for key, layer in layers.items()}  # type: ignore[union-attr,arg-type]
    chosen: list[list[Tensor]] = []

    def before(_: Any, place: int) -> None:
        if not place:
            return
        seen, choice = _looked(model, data, ORDER[place - 1])
        chosen.append(choice)
        if name == "same":
            for key, x_TD in seen.items():
                kept[key].see(x_TD)
                kept[key].protect()
        elif name == "frozen":
            for layer in layers.values():
                layer.layer.gate.requires_grad_(False)

    found = forgetting(sequence(data, model, ORDER, seed=seed, steps=STEPS, before=before))
    moved = []
    for task, old in zip(ORDER, chosen, strict=False):
        _, new = _looked(model, data, task)
        moved += [float((a != b).float().mean()) for a, b in zip(old, new, strict=True)]
    return {"tokens moved": sum(moved) / len(moved), **found}


def _looked(model: Any, data: Path | None, task: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """What each gate reads of a task's windows, and the expert it likes best there."""
    import torch

    from turnout.nn.adapters import adapted
    from turnout.nn.beds import ciphers

    ids_BS, _ = ciphers.seen(data).validation(tasks=[task])
    seen: dict[str, Tensor] = {}
    hooks = [layer.register_forward_hook(partial(_keep, into=seen, key=key)) for key, layer in adapted(model).items()]
    model.eval()
    with torch.no_grad():
        model(ids_BS[:, :-1])
    for hook in hooks:
        hook.remove()
    return seen, [layer.last.plan.scores_TE.argmax(-1) for layer in adapted(model).values() if layer.last is not None]


def _keep(_: Any, args: tuple[Tensor, ...], __: Any, *, into: dict[str, Tensor], key: str) -> None:
    into[key] = args[0].flatten(0, 1)


def _measure(system: System, run: Run) -> Figures:
    names = {"same": "same", "free": "free router", "frozen": "router frozen after the first task"}
    return compare(
        system,
        run,
        {shown: partial(_measured, name, data=run.data) for name, shown in names.items()},
        metric="tokens moved",
        against="free router",
        table="ciphers",
        protocol="four tasks one after the other, 40 steps of 16 windows each, top-2 of eight LoRA; tokens of an old "
        "task whose best expert is another at the end; nats per character",
    )


SAME = System(
    name="same",
    number=13,
    title="SAME",
    level="in-model",
    claim=Claim(
        "Splitting the router's updates by orthogonal subspaces and moving task-relevant directions only, with expert "
        "updates scaled by curvature and selected experts frozen, is the state of the art of continual multimodal "
        "instruction tuning without rehearsal.",
        "arXiv 2602.01990, abstract",
    ),
    parts=("gate:linear_gate", "selector:top_k", "experts:lora", "combiner:fused", "balancer:switch_loss"),
    novelty="training",
    build=_build,
    measure=_measure,
    table="ciphers",
    deviations=(
        "What old tasks' inputs span is closed to the router (gradient projection memory); the public code rescales "
        "the gradient along the main directions of the inputs it sees by their singular values and lets the rest pass.",
        "Expert updates are not scaled by curvature and no expert is frozen.",
        "The covariance is of validation windows of the task just learned, 95 % of which is closed; there a running "
        "one, and 90 % (of squared singular values).",
        "Top-2 per token; the code mixes all experts in training and takes the top 2 of the mean over tokens in use.",
    ),
    limits=("Inputs of later layers move with the experts below, which a projection of the gate cannot stop.",),
    code="github.com/LAMDA-CL/Prism",
)
