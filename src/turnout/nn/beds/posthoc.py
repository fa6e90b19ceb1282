"""Routers made after eight adapters were trained apart, on the cipher bed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.nn import SumGate, TaskTableGate, VectorGate
from turnout.nn.adapters import adapted, arrow_gates, fit_gates, mean_gates
from turnout.nn.beds import ciphers
from turnout.nn.beds.model import CharModel

GATE_STEPS, GATE_ROWS, GATE_RATE = 100, 2, 1e-3
SCORES = {"phatgoose": "standard", "arrow": "absolute", "mean": "cosine"}  # how each kind's vectors are compared
HALF = 32  # characters that stand for the query where a global view is asked for

_fitted: dict[tuple[Path | None, int, str], CharModel] = {}


def with_gates(data: Path | None, seed: int, kind: str) -> CharModel:
    """A copy of the bank of a seed with gates made by `phatgoose`, `arrow` or `mean`."""
    key = (data, seed, kind)
    if key not in _fitted:
        model = ciphers.bank(data, seed)
        for layer in adapted(model).values():
            gate = layer.layer.gate
            assert isinstance(gate, VectorGate)
            gate.score = SCORES[kind]
        if kind == "phatgoose":
            loss = partial(_summed, tasks=len(ciphers.seen(data).names))
            fit_gates(model, _batches(data, seed, GATE_STEPS, GATE_ROWS), loss, rate=GATE_RATE)
        elif kind == "arrow":
            arrow_gates(model)
        else:
            mean_gates(model, _batches(data, seed, 1, 16), lambda net, ids_BS: net(ids_BS[:, :-1]))
        _fitted[key] = model
    return copy.deepcopy(_fitted[key])


def _summed(model: Any, ids_BS: Tensor, tasks: int) -> Tensor:
    return ciphers.loss_of(model, ids_BS).mean() * tasks


def _batches(data: Path | None, seed: int, steps: int, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1000 + seed)
    for _ in range(steps):
        ids_BS, task_B = ciphers.seen(data).batch(generator, rows)
        yield task_B, ids_BS


def said(name: str, task_B: Tensor, experts: int) -> tuple[str, dict[str, Any]]:
    """Which gates a variant has, and what `routing` is told."""
    if name in ("phatgoose", "arrow", "mean"):
        return name, {}
    if name == "oracle":
        return "none", {"expert": task_B}
    return "none", {"weights": torch.full((experts,), 1 / experts if name == "average" else 0.0)}


def measured(name: str, seed: int, data: Path | None) -> Mapping[str, float]:
    """Loss on the seen tasks and on windows of two tasks, and how often a layer's best expert is the right one."""
    tasks = ciphers.seen(data)
    experts = len(tasks.names)
    ids_BS, task_B = tasks.validation()
    mixed_BS, task_BS = tasks.mixed()
    gates, hand = said(name, task_B, experts)
    model = ciphers.bank(data, seed) if gates == "none" else with_gates(data, seed, gates)
    loss = float(ciphers.evaluate(model, ids_BS, task_B, experts, **hand).mean())
    right = [_right(layer.last, task_B) for layer in adapted(model).values()] if gates != "none" else [1 / experts]
    other = {"expert": task_BS} if name == "oracle" else hand
    mixed = float(ciphers.evaluate(model, mixed_BS, torch.zeros(len(mixed_BS), dtype=torch.int64), 1, **other))
    oracle = _known(data, seed, expert=task_B)
    average = _known(data, seed, weights=torch.full((experts,), 1 / experts))
    return {
        "loss": loss,
        "over the oracle": loss / oracle - 1,
        "of the way from the average": (average - loss) / (average - oracle),
        "loss on two tasks": mixed,
        "right expert": 1.0 if name == "oracle" else sum(right) / len(right),
    }


def _right(routed: Any, task_B: Tensor) -> float:
    best_T = routed.plan.scores_TE.argmax(-1)
    return float((best_T == task_B.repeat_interleave(len(best_T) // len(task_B))).float().mean())


def _known(data: Path | None, seed: int, **hand: Any) -> float:
    tasks = ciphers.seen(data)
    ids_BS, task_B = tasks.validation()
    return float(ciphers.evaluate(ciphers.bank(data, seed), ids_BS, task_B, len(tasks.names), **hand).mean())


class GlobalView:
    """Similarity of a query to what each expert was trained on: cosine of tf-idf weighted character pairs.

    `texts` is what each expert was trained on, `queries` are some of it, cut as queries are. `confident` is the
    similarity that a fifth of these exceed. Limits: characters beyond ASCII count as one and the same.

    >>> view = GlobalView(["to be or not to be", "2 + 2 = 4"], ["to be", "2 = 4"])
    >>> view(["not to", "1 + 4"]).argmax(-1).tolist()
    [0, 1]
    """

    def __init__(self, texts: Sequence[str], queries: Sequence[str]) -> None:
        counts_EP = torch.stack([_pairs(text) for text in texts])
        self.idf_P = torch.log(len(counts_EP) / (counts_EP > 0).sum(0).clamp_min(1)) + 1
        self.experts_EP = F.normalize(counts_EP.log1p() * self.idf_P, dim=-1)
        self.confident = float(self(queries).amax(-1).quantile(0.8))

    def __call__(self, queries: Sequence[str]) -> Tensor:
        """[B, E]."""
        counts_BP = torch.stack([_pairs(text) for text in queries])
        return F.normalize(counts_BP.log1p() * self.idf_P, dim=-1) @ self.experts_EP.T


def _pairs(text: str) -> Tensor:
    """How often each pair of neighbouring characters occurs: [128²]."""
    ids_S = torch.tensor(list(text.encode("ascii", "replace")))
    return torch.bincount(ids_S[:-1] * 128 + ids_S[1:], minlength=128 * 128).float()


def global_view(data: Path | None) -> GlobalView:
    """The view of the cipher bed's adapters."""
    tasks = ciphers.seen(data)
    ids_BS, _ = tasks.batch(torch.Generator().manual_seed(0), 32)
    return GlobalView([bytes(text[:50_000].tolist()).decode("ascii") for text in tasks.train], halves(ids_BS))


def halves(ids_BS: Tensor) -> list[str]:
    """The first half of each window, as text."""
    return [bytes(ids_S[:HALF].tolist()).decode("ascii") for ids_S in ids_BS]


def glided(name: str, seed: int, data: Path | None, *, high: float, low: float) -> Mapping[str, float]:
    """Loss on the second half of windows whose first half is the query, on seen and held-out tasks."""
    view, columns = global_view(data), {}
    for column, tasks in (("loss", ciphers.seen(data)), ("held-out loss", ciphers.held_out(data))):
        ids_BS, task_B = tasks.validation()
        hand: dict[str, Any] = {}
        if name in ("glider", "phatgoose"):
            model = with_gates(data, seed, "phatgoose")
            if name == "glider":
                add_global(model, view(halves(ids_BS)), high, low, view.confident)
                hand = {"task": torch.arange(len(ids_BS))}
        else:
            model = ciphers.bank(data, seed)
            experts = len(view.experts_EP)
            if name == "global alone":
                hand = {"expert": view(halves(ids_BS)).argmax(-1)}
            elif name == "oracle" and column == "loss":
                hand = {"expert": task_B}
            else:
                hand = {"weights": torch.full((experts,), 0.0 if name == "none" else 1 / experts)}
        columns[column] = float(_second_half(model, ids_BS, hand))
        if column == "loss":
            oracle = float(_second_half(ciphers.bank(data, seed), ids_BS, {"expert": task_B}))
            columns["over the oracle"] = columns[column] / oracle - 1
    return columns


def add_global(model: nn.Module, score_BE: Tensor, high: float, low: float, switch: float) -> None:
    """Every gate becomes the sum of the global view, a row per query, and what it was."""
    for layer in adapted(model).values():
        table = TaskTableGate(len(score_BE), score_BE.shape[1])
        table.table.data = score_BE[:, None]
        layer.layer.gate = SumGate([table, layer.layer.gate], [high, 1.0], switch=switch, low=low)


@torch.no_grad()
def _second_half(model: CharModel, ids_BS: Tensor, hand: Mapping[str, Any]) -> Tensor:
    from turnout.nn.adapters import routing

    model.eval()
    with routing(model, **hand):
        logits_BSV = model(ids_BS[:, :-1]).logits
    return F.cross_entropy(logits_BSV[:, HALF:].flatten(0, 1), ids_BS[:, HALF + 1 :].flatten())
