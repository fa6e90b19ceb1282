"""Pools trained on all tasks of the cipher bed at once, and one task after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from turnout.nn import Fused, LinearGate, LoRA, RoutedLayer, Soft, SwitchLoss, TopK, losses, update_biases
from turnout.nn.adapters import AdaptedLinear, adapted, attach, routing
from turnout.nn.adapters.attach import Factory
from turnout.nn.beds import ciphers
from turnout.nn.beds.model import CharModel
from turnout.nn.plan import Plan

ROWS = 2
EXPERTS, CHOSEN, RANK = 8, 2, 4
Step = Callable[[CharModel, Tensor, Tensor, torch.Generator, int], Tensor]
"""The loss of one training step, of the model, windows [B, S + 1], their tasks [B], a generator and the step."""


def made(data: Path | None, seed: int, factory: Factory, targets: str = ciphers.TARGETS) -> CharModel:
    """The frozen base with what a function makes beside each projection, drawn from a seed."""
    model = ciphers.base(data)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attach(model, targets, factory)
    return model


def plain(model: CharModel, ids_BS: Tensor, task_B: Tensor, generator: torch.Generator, step: int) -> Tensor:
    """Next character, the tasks known to no gate, and the balancing losses."""
    with routing(model, task=task_B, generator=generator, step=step):
        loss = ciphers.loss_of(model, ids_BS).mean()
    total: Tensor = loss + sum(losses(model).values())
    return total


def train(
    data: Path | None,
    seed: int,
    factory: Factory,
    *,
    targets: str = ciphers.TARGETS,
    step: Step = plain,
    steps: int = ciphers.STEPS,
    rate: float = ciphers.RATE,
    rows: int = ROWS,
    faster: Mapping[str, float] | None = None,
    watch: Callable[[CharModel, int], None] | None = None,
) -> CharModel:
    """A pool trained on windows of all eight tasks together."""
    tasks, model = ciphers.seen(data), made(data, seed, factory, targets)
    generator = torch.Generator().manual_seed(seed)
    model.train()

    def one(number: int) -> Tensor:
        ids_BS, task_B = tasks.batch(generator, rows)
        return step(model, ids_BS, task_B, generator, number)

    def after(number: int) -> None:
        update_biases(model)
        if watch is not None:
            watch(model, number)

    ciphers.fit(model, one, steps=steps, rate=rate, faster=faster, after=after)
    return model


def figures(data: Path | None, model: CharModel, **said: Any) -> dict[str, float]:
    """Loss over the eight tasks' validation windows, experts per token, effective support, numbers trained."""
    tasks = ciphers.seen(data)
    ids_BS, task_B = tasks.validation()
    said = {"task": task_B, **said}
    loss = ciphers.evaluate(model, ids_BS, task_B, len(tasks.names), **said).mean()
    last = plans(model)
    return {
        "loss": float(loss),
        "active experts": sum(float(p.counts_E.sum()) / p.tokens for p in last) / len(last),
        "effective support": sum(support(p.weights_TE) for p in last) / len(last),
        "trained numbers": float(sum(p.numel() for p in model.parameters() if p.requires_grad)),
    }


def plans(model: nn.Module) -> list[Plan]:
    """What each adapted layer chose in its last pass."""
    return [layer.last.plan for layer in adapted(model).values() if layer.last is not None]


def support(weights_TE: Tensor) -> float:
    """1 / Σ w² of each token's weights over their sum, mean over tokens with any."""
    share_TE = weights_TE / weights_TE.sum(-1, keepdim=True).clamp_min(1e-9)
    square_T = share_TE.square().sum(-1)
    return float((1 / square_T[square_T > 0]).mean())


def loras(
    experts: int = EXPERTS, rank: int = RANK, *, k: int | None = CHOSEN, scale: float = 4.0, balance: bool = True
) -> Factory:
    """LoRA experts under a linear gate: top-k, or soft with k None, or a single adapter."""

    def make(linear: nn.Linear, _: str) -> RoutedLayer:
        pool = LoRA(experts, linear.in_features, linear.out_features, rank=rank, alpha=scale * rank)
        selector = Soft() if k is None else TopK(min(k, experts))
        balancers = [SwitchLoss(0.01)] if balance and experts > 1 else []
        gate = LinearGate(linear.in_features, experts)
        return RoutedLayer(gate, selector, pool, combiner=Fused(), balancers=balancers)

    return make


_known: dict[tuple[Any, ...], Mapping[str, float]] = {}


def baseline(name: str, seed: int, data: Path | None) -> Mapping[str, float]:
    """A baseline by name, trained once per process: `top-2 of 8 LoRA`, `soft 8 LoRA`, `one LoRA of rank r`."""
    key = (name, seed, data)
    if key not in _known:
        factories = {"top-2 of 8 LoRA": loras(), "soft 8 LoRA": loras(k=None)}
        if name.startswith("one LoRA of rank "):
            factories[name] = loras(1, int(name.rpartition(" ")[2]), k=1)
        _known[key] = figures(data, train(data, seed, factories[name]))
    return _known[key]


def sequence(
    data: Path | None,
    model: CharModel,
    order: tuple[int, ...],
    *,
    seed: int,
    steps: int,
    rows: int = 16,
    before: Callable[[CharModel, int], None] | None = None,
    said: Callable[[int], dict[str, Any]] = lambda _: {},
) -> Tensor:
    """Train on one task after the other; loss [after which, of which] over `order` on validation windows.

    `before` prepares the model for a task by its place in the order; `said` is told to `routing` for a task's windows.
    """
    tasks = ciphers.seen(data)
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(len(order), len(order))
    for place, task in enumerate(order):
        if before is not None:
            before(model, place)
        model.train()

        def one(_: int, task: int = task, place: int = place) -> Tensor:
            ids_BS = tasks.batch(generator, rows, [task])[0]
            with routing(model, **said(place)):
                total: Tensor = ciphers.loss_of(model, ids_BS).mean() + sum(losses(model).values())
            return total

        ciphers.fit(model, one, steps=steps, after=lambda _: update_biases(model))
        for other, of in enumerate(order):
            read_BS, task_B = tasks.validation(tasks=[of])
            found[place, other] = ciphers.evaluate(model, read_BS, task_B * 0, 1, **said(other))[0]
    return found


def forgetting(loss_PP: Tensor) -> dict[str, float]:
    """Mean loss at the end, how much worse earlier tasks became, and the loss of each task when just learned."""
    learned = loss_PP.diagonal()
    return {
        "loss": float(loss_PP[-1].mean()),
        "forgetting": float((loss_PP[-1] - learned)[:-1].mean()),
        "loss just after": float(learned.mean()),
    }


def side_by_side(data: Path | None, models: Sequence[Mapping[str, AdaptedLinear]]) -> CharModel:
    """The base with the mean of several models' adapters beside each projection."""
    model = ciphers.base(data)
    for name, first in models[0].items():
        parent, _, last = name.rpartition(".")
        beside = _Mean(first.base_layer, [layers[name].layer for layers in models])
        setattr(model.get_submodule(parent), last, beside)
    return model


class _Mean(nn.Module):
    """base(x) + the mean of several routed layers."""

    def __init__(self, base_layer: nn.Linear, layers: Sequence[RoutedLayer]) -> None:
        super().__init__()
        self.base_layer, self.layers = base_layer, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [layer(x).output for layer in self.layers]
        total: Tensor = self.base_layer(x) + torch.stack(outputs).mean(0)
        return total
