"""Routed layers inside a Hugging Face model: found, put in place of its MoE blocks, or made of its dense networks."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from turnout.errors import ParameterError, RoutingError
from turnout.nn.experts._activations import ACTIVATIONS
from turnout.nn.experts.ffn import FFN
from turnout.nn.gates.linear_gate import LinearGate
from turnout.nn.hub.layouts import layer_of
from turnout.nn.layer import OutputOnly, RoutedLayer
from turnout.nn.plan import Plan
from turnout.nn.selectors.top_k import TopK

_ACTIVATIONS = {"SiLUActivation": "silu", "SiLU": "silu", "GELUActivation": "gelu", "GELU": "gelu", "ReLU": "relu"}
_OUT = "taken_out"  # a tuple, since a bare module would be a submodule
_RENAMED = "_weight_conversions"  # transformers' own: how names of a model become those of a checkpoint


def find_moe(model: nn.Module) -> dict[str, nn.Module]:
    """The MoE blocks of a model by their names: transformers' own, and routed layers put into it.

    A block of transformers has a router `gate` with `weight` and `top_k`, and `experts` with stacked weights.
    """
    return {
        name: module for name, module in model.named_modules() if isinstance(module, OutputOnly) or _is_block(module)
    }


def replace_moe(
    model: nn.Module, change: Callable[[RoutedLayer, int], RoutedLayer] | None = None
) -> dict[str, OutputOnly]:
    """Put a `RoutedLayer` in place of every MoE block of a model, sharing its parameters; returns them by name.

    `change(layer, number)` may return another layer to put there. The model computes the same until it does; in half
    precision experts of close scores may change places, as our gate scores in float32. Raises RoutingError where there
    is no block or one of another rule of choice, StateError for one of another layout; the model is then as it was.

    Limits: transformers finds its router logits by class, so `output_router_logits` gives none afterwards, and is
    refused where the model's config sets it; take losses from balancers. Mixtral's jitter on the input is left out.
    """
    blocks = {name: block for name, block in find_moe(model).items() if not isinstance(block, OutputOnly)}
    if not blocks:
        replaced = any(hasattr(block, _OUT) for block in find_moe(model).values())
        said = (
            "`restore_moe` puts back those that were replaced" if replaced else "`upcycle` makes them of dense networks"
        )
        raise RoutingError(f"{type(model).__name__} has no MoE block to replace; {said}")
    if getattr(getattr(model, "config", None), "output_router_logits", False):
        said = "config.output_router_logits asks for what routed layers do not give"
        raise RoutingError(f"{said}; set it to False and take the losses of balancers")
    made = {}
    for place, (name, block) in enumerate(blocks.items()):
        number, layer = _number(name, place), _routed(block).train(block.training)
        made[name] = (change(layer, number) if change else layer, number)
    placed = {name: _place(model, name, layer, number) for name, (layer, number) in made.items()}
    _keep_names(model)
    return placed


def _keep_names(model: nn.Module) -> None:
    """Let our layers be saved under the names that a Trainer loads them by, not under Mixtral's old ones."""
    setattr(model, _OUT, (getattr(model, _RENAMED, None),))
    setattr(model, _RENAMED, [])


def restore_moe(model: nn.Module) -> list[str]:
    """Put the blocks back that `replace_moe` and `upcycle` took out; returns their names.

    After `replace_moe` a block's parameters are those that were trained, so the model saves under its own names. What a
    `change` added, and the experts of `upcycle`, are gone.
    """
    found = {name: block for name, block in find_moe(model).items() if hasattr(block, _OUT)}
    for name, block in found.items():
        (original,) = getattr(block, _OUT)
        _set(model, name, original.train(block.training))
    if hasattr(model, _OUT):
        (renamed,) = getattr(model, _OUT)
        setattr(model, _RENAMED, renamed)
        delattr(model, _OUT)
    return list(found)


@dataclass(frozen=True)
class Upcycled:
    """What `upcycle` makes of each dense network."""

    experts: int = 8
    k: int = 2
    noise: float = 0.0


def upcycle(
    model: nn.Module,
    layers: Collection[int] | None = None,
    settings: Upcycled | None = None,
    change: Callable[[RoutedLayer, int], RoutedLayer] | None = None,
) -> dict[str, OutputOnly]:
    """Turn a model's dense gated networks into MoE layers whose experts are copies; returns them by name.

    `layers` are numbers of decoder layers, None all; Post-MoE (Apollo-MoE) takes the last two. A token's weights sum to
    1, so the model computes the same until it is trained, or exactly `noise` (relative, on the experts' weights) away
    from it. Gates start small at random, from torch's generator. Raises RoutingError for a layer without such a
    network.

    Source: Komatsuzaki et al., "Sparse Upcycling", 2023; Zheng et al., "Efficiently Democratizing Medical LLMs for 50
    Languages via a Mixture of Language Family Experts", 2024.
    """
    settings = settings or Upcycled()
    if settings.k > settings.experts:
        raise ParameterError(
            f"upcycle: k must be at most the number of experts, got {settings.k} of {settings.experts}"
        )
    dense = {_number(name, -1): (name, module) for name, module in model.named_modules() if _is_dense(module)}
    wanted = sorted(dense) if layers is None else sorted(set(layers))
    if missing := [number for number in wanted if number not in dense]:
        said = f"layers {', '.join(map(str, sorted(dense)))}" if dense else "no layer"
        raise RoutingError(f"layer {missing[0]} has no dense gated network to upcycle; {said} of this model have")
    if not wanted:
        raise RoutingError(f"{type(model).__name__} has no dense gated network (gate_proj, up_proj, down_proj)")
    made = {}
    for number in wanted:
        name, module = dense[number]
        layer = _copied(module, settings).train(module.training)
        made[name] = (change(layer, number) if change else layer, number)
    return {name: _place(model, name, layer, number) for name, (layer, number) in made.items()}


def _is_block(module: nn.Module) -> bool:
    gate, experts = getattr(module, "gate", None), getattr(module, "experts", None)
    if not isinstance(gate, nn.Module) or not isinstance(experts, nn.Module):
        return False
    return hasattr(gate, "top_k") and hasattr(gate, "weight") and hasattr(experts, "down_proj")


def _is_dense(module: nn.Module) -> bool:
    projections = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    return all(isinstance(linear, nn.Linear) and linear.bias is None for linear in projections)


def _routed(block: Any) -> RoutedLayer:
    """A layer over the very parameters of a block."""
    state = dict(block.named_parameters()) | dict(block.named_buffers())
    normalize = bool(getattr(block.gate, "norm_topk_prob", True))  # Mixtral's router always does
    layer = layer_of(state, k=block.gate.top_k, normalize=normalize, activation=_activation(block.experts))
    for module in layer.modules():
        for name, made in list(module.named_parameters(recurse=False)):
            setattr(module, name, next(p for p in state.values() if p.data_ptr() == made.data_ptr()))
    _chooses_alike(layer, block)
    return layer


@torch.no_grad()
def _chooses_alike(layer: RoutedLayer, block: Any) -> None:
    """A router may carry the same weights and mean something else by them.

    Both choose in float32: in half precision close scores change places.
    """
    gate = copy.deepcopy(block.gate).float()
    x_TD = torch.randn(16, gate.weight.shape[1], generator=torch.Generator().manual_seed(0)).to(gate.weight)
    plan = layer.selector(layer.gate(x_TD)[0])
    _, weights_TK, idx_TK = gate(x_TD)
    alike = Plan(idx_TK, weights_TK.float(), plan.scores_TE, plan.logits_TE).weights_TE
    if not torch.allclose(alike, plan.weights_TE, atol=1e-4):
        raise RoutingError(f"{type(block.gate).__name__} does not choose the k largest softmax scores")


def _copied(dense: Any, settings: Upcycled) -> RoutedLayer:
    first = torch.cat([dense.gate_proj.weight, dense.up_proj.weight]).detach()
    width, hidden = first.shape[1], first.shape[0] // 2
    pool = FFN(settings.experts, width, hidden, activation=_activation(dense)).to(first)
    pairs: list[tuple[Any, Tensor]] = [(pool.gate_up_proj, first), (pool.down_proj, dense.down_proj.weight)]
    with torch.no_grad():
        for made, weight in pairs:
            made.copy_(weight)
            if settings.noise:
                made.add_(torch.randn_like(made) * settings.noise * weight.std())
    gate = LinearGate(width, settings.experts).to(first)
    nn.init.normal_(gate.linear.weight, std=0.02)
    return RoutedLayer(gate, TopK(settings.k), pool)


def _activation(module: Any) -> str:
    name = type(module.act_fn).__name__
    if name not in _ACTIVATIONS:
        raise RoutingError(f"experts with {', '.join(sorted(ACTIVATIONS))} are known, got {name}")
    return _ACTIVATIONS[name]


def _number(name: str, default: int) -> int:
    found = re.search(r"\.(\d+)\.", f".{name}.")
    return int(found[1]) if found else default


def _place(model: nn.Module, name: str, layer: RoutedLayer, number: int) -> OutputOnly:
    """The layer in place of a module, which it remembers without owning it."""
    placed = OutputOnly(layer, number)
    setattr(placed, _OUT, (model.get_submodule(name),))
    _set(model, name, placed)
    return placed


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def linear_gates(model: nn.Module) -> dict[str, Tensor]:
    """The router weights [E, D] of a model's MoE blocks by their names."""
    found = {}
    for name, block in find_moe(model).items():
        gate: Any = block.layer.gate if isinstance(block, OutputOnly) else block.gate
        weight = gate.linear.weight if isinstance(gate, LinearGate) else getattr(gate, "weight", None)
        if isinstance(weight, Tensor):
            found[name] = weight
    return found
