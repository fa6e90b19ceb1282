"""MoRA: ranks of an adapter as experts that activate themselves, grown task by task.

Source: Lu et al., "Little By Little: Continual Learning via Self-Activated Sparse Mixture-of-Rank Adaptive Learning",
arXiv 2506.21035, 2025; no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn import RoutedLayer

__all__ = ["MORA"]

RANKS, BUDGET, SCALE, STEPS = 4, 4, 4.0, 40
ORDER = (0, 6, 5, 1, 7)  # upper, doubled, digits, rot13, code


def _layer(width: int, out: int) -> RoutedLayer:
    from turnout.nn import ActivationGate, Fused, RankOne, RoutedLayer, TopK

    pool = RankOne(RANKS, width, out, activation="identity", zero=True, scale=SCALE * BUDGET)
    return RoutedLayer(ActivationGate(pool), TopK(BUDGET), pool, combiner=Fused())


def _build() -> Mapping[str, Any]:
    return {"layer": _layer(64, 64)}


def _grow(model: Any, place: int) -> None:
    """From the second task on: freeze the ranks there are and add as many as a task gets."""
    from turnout.nn import RankOne
    from turnout.nn.adapters import adapted

    if not place:
        return
    for layer in adapted(model).values():
        pool = layer.layer.experts
        assert isinstance(pool, RankOne)
        old = pool.experts
        pool.grow(RANKS)
        for parameter in (pool.in_ED, pool.out_EO):
            parameter.register_hook(partial(_kept, old=old))  # type: ignore[no-untyped-call]


def _kept(grad: Any, old: int) -> Any:
    """A gradient that leaves the first ranks where they are."""
    grad = grad.clone()
    grad[:old] = 0
    return grad


def _measured(name: str, seed: int, data: Path | None) -> Mapping[str, float]:
    from turnout.nn.beds.mixtures import forgetting, loras, made, sequence

    if name == "mora":
        model = made(data, seed, lambda linear, _: _layer(linear.in_features, linear.out_features))
        return forgetting(sequence(data, model, ORDER, seed=seed, steps=STEPS, before=_grow))
    if name == "one lora":
        model = made(data, seed, loras(1, RANKS * len(ORDER), k=1, scale=SCALE))
        return forgetting(sequence(data, model, ORDER, seed=seed, steps=STEPS))
    model = made(data, seed, loras(len(ORDER), RANKS, scale=SCALE, balance=False))
    return forgetting(sequence(data, model, ORDER, seed=seed, steps=STEPS, said=_own))


def _own(place: int) -> dict[str, Any]:
    """A task known by name, with an adapter of its own."""
    import torch

    return {"expert": torch.tensor([place])}


def _measure(system: System, run: Run) -> Figures:
    names = {"mora": "mora", "one lora": "one LoRA, task after task", "own": "a LoRA per task, task known"}
    return compare(
        system,
        run,
        {shown: partial(_measured, name, data=run.data) for name, shown in names.items()},
        metric="forgetting",
        against="one LoRA, task after task",
        within={"loss": 0.0},
        table="ciphers",
        protocol="five tasks one after the other, 40 steps of 16 windows each, 20 ranks in the end; forgetting: how "
        "much a task's loss rose since it was learned, in nats per character; reproduced only if the final loss is "
        "lower too",
    )


MORA = System(
    name="mora",
    number=124,
    title="MoRA",
    level="in-model",
    claim=Claim(
        "Rank-one experts that activate themselves, with past ranks frozen, forget less and generalise better in "
        "continual learning of vision-language and language models.",
        "arXiv 2506.21035, abstract",
    ),
    parts=("gate:activation_gate", "selector:top_k", "experts:rank_one", "combiner:fused"),
    novelty="gate",
    build=_build,
    measure=_measure,
    table="ciphers",
    deviations=(
        "A rank's score is the size of its cosine to the input over a temperature of .1; a review of the paper gives "
        "aᵢx over the norm of all ranks' activations, with its sign.",
        "The four best ranks weigh 1 in all; theirs keep their softmax weight, and only where they pass a threshold.",
        "Ranks that are rarely active are not pruned in this run (`RankOne.prune` does it).",
    ),
    limits=("New ranks also answer old tasks' tokens, which is what is forgotten.",),
)
