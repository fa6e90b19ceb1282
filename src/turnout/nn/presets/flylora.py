"""FlyLoRA: rank-one experts behind a frozen sparse random projection that is also their router.

Source: Zou et al., "FlyLoRA: Boosting Task Decoupling and Parameter Efficiency via Implicit Rank-Wise
Mixture-of-Experts", NeurIPS 2025; code gfyddha/FlyLoRA.
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

__all__ = ["FLYLORA"]

RANKS, CHOSEN, STEPS = 32, 8, 80
TASKS = (0, 1, 5, 6)  # upper, rot13, digits, doubled


def _layer(width: int, out: int, seed: int = 0) -> RoutedLayer:
    from turnout.nn import Fused, LossFreeBias, RandomProjectionGate, RankOne, RoutedLayer, TopK

    gate = RandomProjectionGate(width, RANKS, density=CHOSEN / RANKS, seed=seed)
    pool = RankOne(RANKS, width, out, activation="identity", zero=True, scale=2.0)
    pool.in_ED.data.copy_(gate.matrix_ED)  # the projection that routes is the one that adapts
    pool.in_ED.requires_grad_(False)
    selector = TopK(CHOSEN, score="sigmoid", normalize=False)
    return RoutedLayer(gate, selector, pool, combiner=Fused(weight=1.0), balancers=[LossFreeBias(RANKS, 1e-3)])


def _build() -> Mapping[str, Any]:
    return {"layer": _layer(64, 64)}


def _measured(name: str, seed: int, data: Path | None) -> Mapping[str, float]:
    """Loss of each task's own adapter, and of the mean of all four adapters' outputs."""
    from turnout.nn.adapters import adapted
    from turnout.nn.beds import ciphers, mixtures

    tasks = ciphers.seen(data)
    models = [_trained(name, seed, data, task) for task in TASKS]
    alone = [_loss(model, tasks, task) for model, task in zip(models, TASKS, strict=True)]
    merged = mixtures.side_by_side(data, [adapted(model) for model in models])
    together = [_loss(merged, tasks, task) for task in TASKS]
    rise = sum(together) / len(TASKS) - sum(alone) / len(TASKS)
    numbers = sum(p.numel() for p in models[0].parameters() if p.requires_grad)
    return {
        "rise after merging": rise,
        "loss alone": sum(alone) / len(TASKS),
        "loss merged": sum(together) / len(TASKS),
        "trained numbers": float(numbers),
    }


def _trained(name: str, seed: int, data: Path | None, task: int) -> Any:
    import torch

    from turnout.nn import update_biases
    from turnout.nn.beds import ciphers, mixtures

    tasks = ciphers.seen(data)
    factory = mixtures.loras(1, CHOSEN, k=1, scale=2.0)
    if name == "flylora":

        def factory(linear: Any, layer: str) -> RoutedLayer:
            own = 100 * seed + 10 * task + len(layer)
            return _layer(linear.in_features, linear.out_features, own)

    model = mixtures.made(data, seed, factory)
    generator = torch.Generator().manual_seed(seed)
    model.train()

    def step(_: int) -> Any:
        return ciphers.loss_of(model, tasks.batch(generator, 8, [task])[0]).mean()

    ciphers.fit(model, step, steps=STEPS, after=lambda _: update_biases(model))
    return model.eval()


def _loss(model: Any, tasks: Any, task: int) -> float:
    from turnout.nn.beds import ciphers

    ids_BS, task_B = tasks.validation(tasks=[task])
    return float(ciphers.evaluate(model, ids_BS, task_B * 0, 1)[0])


def _measure(system: System, run: Run) -> Figures:
    return compare(
        system,
        run,
        {name: partial(_measured, name.split(" ")[0].lower(), data=run.data) for name in ("flylora", "LoRA of rank 8")},
        metric="rise after merging",
        against="LoRA of rank 8",
        within={"loss alone": 0.05},
        table="ciphers",
        protocol="four tasks apart, 80 steps of 8 windows; merged: the mean of the four adapters' outputs; nats per "
        "character; reproduced only if a single task's loss is not .05 worse",
    )


FLYLORA = System(
    name="flylora",
    number=47,
    title="FlyLoRA",
    level="in-model",
    claim=Claim(
        "A frozen sparse random down-projection that also routes over ranks decouples tasks: better than existing "
        "methods in four domains, and with less interference when adapters are merged.",
        "abstract",
    ),
    parts=(
        "gate:random_projection_gate",
        "selector:top_k",
        "experts:rank_one",
        "combiner:fused",
        "balancer:loss_free_bias",
    ),
    novelty="gate",
    build=_build,
    measure=_measure,
    table="ciphers",
    deviations=(
        "The balancing bias is added outside the absolute value and follows shares of load; the public code compares a "
        "rate with raw counts.",
        "Merging averages outputs with each adapter's own choice of ranks.",
    ),
    limits=("The down-projection learns nothing, so a task needs more ranks.",),
    code="github.com/gfyddha/FlyLoRA",
)
