"""Adapters on disk: one safetensors file and the recipe beside it; the frozen model is not in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from turnout.errors import RoutingError, StateError
from turnout.nn.adapters.attach import Factory, Pool, adapted, attach

TENSORS, RECIPE = "adapters.safetensors", "adapters.json"
FORMAT = 1


def save(model: nn.Module, folder: Path | str) -> Path:
    """Write every pool and gate of the model into a folder. Raises RoutingError for a model without adapters."""
    from safetensors.torch import save_file

    layers = adapted(model)
    if not layers:
        raise RoutingError("the model has no adapters to save")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, layer in layers.items()
        for key, value in layer.layer.state_dict().items()
    }
    session = next(iter(layers.values())).session
    recipe = {
        "format": FORMAT,
        "pool": _plain(session.pool),
        "layers": {name: [layer.in_features, layer.out_features] for name, layer in layers.items()},
    }
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    (folder / RECIPE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    return folder


def load(model: nn.Module, folder: Path | str, pool: Factory | None = None) -> None:
    """Attach what a folder holds, or fill the adapters that the model has.

    `pool` is needed where the saved adapters came from a function of the caller's own, or from a pool with options that
    hold one. Raises StateError for a folder
    that is damaged, newer, or of a model with other layers; the model is then as it was.
    """
    recipe, tensors = _read(Path(folder))
    had = bool(adapted(model))
    if not had:
        _check_layers(recipe, {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)})
        make = pool or _pool(recipe)
        if make is None:
            said = "the saved adapters came from a function, or from a pool whose options hold more than plain values"
            raise StateError(f"{said}; give the same one to `load`")
        # by module: a layer that has two names is saved under one
        saved = [model.get_submodule(name) for name in recipe["layers"]]
        attach(model, lambda _, module: any(module is each for each in saved), make)
    try:
        _fill(model, recipe, tensors)
    except StateError:
        if not had:
            from turnout.nn.adapters.attach import detach

            detach(model)
        raise


def _fill(model: nn.Module, recipe: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    layers = adapted(model)
    if set(layers) != set(recipe["layers"]):
        odd = sorted(set(layers) ^ set(recipe["layers"]))[0]
        raise StateError(f"the saved adapters and the model's are not at the same layers: {odd!r} is at one side only")
    expected = {f"{n}.{key}": value for n, layer in layers.items() for key, value in layer.layer.state_dict().items()}
    if missing := sorted(set(expected) ^ set(tensors)):
        raise StateError(f"the saved adapters hold other tensors than the model's: {missing[0]!r} is at one side only")
    for key, value in expected.items():
        if value.shape != tensors[key].shape:
            shapes = f"saved {tuple(tensors[key].shape)}, the model's is {tuple(value.shape)}"
            raise StateError(f"tensor {key!r} has another shape: {shapes}")
    with torch.no_grad():
        for key, value in expected.items():
            value.copy_(tensors[key])


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        recipe: Any = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise StateError(f"cannot read adapters in {folder}: {error}") from error
    if not isinstance(recipe, dict):
        raise StateError(f"cannot read adapters in {folder}: {RECIPE} holds no object")
    if recipe.get("format") != FORMAT:
        raise StateError(f"adapters of format {recipe.get('format')}, this version reads {FORMAT}")
    layers = recipe.get("layers")
    if not isinstance(layers, dict) or not layers or not all(_is_size(size) for size in layers.values()):
        raise StateError(f"cannot read adapters in {folder}: `layers` must hold [width, out] by name, got {layers!r}")
    return recipe, tensors


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(width, int) for width in value)


def _plain(pool: Pool | None) -> dict[str, Any] | None:
    """The pool as JSON holds it; None for a function of the caller's own, or for options that hold one."""
    try:
        return None if pool is None else dict(json.loads(json.dumps(pool.to_dict())))
    except TypeError:
        return None


def _pool(recipe: dict[str, Any]) -> Pool | None:
    """The pool of a recipe; None where it could not be written."""
    found = recipe.get("pool")
    try:
        return None if found is None else Pool.from_dict(found)
    except (TypeError, KeyError) as error:
        raise StateError(f"the saved adapters' pool cannot be made again: {error}") from error


def _check_layers(recipe: dict[str, Any], linears: dict[str, nn.Linear]) -> None:
    for name, (width, out) in recipe["layers"].items():
        if name not in linears:
            raise StateError(f"the saved adapters are at {name!r}, which is no linear layer of this model")
        found = [linears[name].in_features, linears[name].out_features]
        if found != [width, out]:
            raise StateError(f"layer {name!r} is {found[0]} → {found[1]} here, {width} → {out} in the saved adapters")
