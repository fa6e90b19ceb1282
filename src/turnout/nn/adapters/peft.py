"""PEFT's LoRA layout: an adapter of PEFT becomes an expert, an expert becomes an adapter of PEFT.

The layout is `adapter_config.json` beside `adapter_model.safetensors`, whose tensors are called
`base_model.model.<layer>.lora_A.weight` [R, D] and `lora_B.weight` [O, R]. peft itself is not needed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from turnout.errors import ParameterError, RoutingError, StateError
from turnout.nn.adapters.attach import Pool, adapted, attach
from turnout.nn.adapters.layer import AdaptedLinear
from turnout.nn.experts.lora import LoRA

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# what PEFT can add to an adapter and a plain low-rank expert cannot hold
REFUSED = {
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "fan_in_fan_out": False,
    "use_qalora": False,
    "use_bdlora": None,
    "alora_invocation_tokens": None,
    "kasa_config": None,
    "monteclora_config": None,
    "layer_replication": None,
}
MOVING = ("pissa", "corda", "olora", "loftq", "lora_ga")  # ways to begin that take a part out of the model's own weight


@dataclass(frozen=True)
class Adapter:
    """One adapter of PEFT: A [R, D] and B [O, R] by layer, and the scaling of each layer."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    scaling: Mapping[str, float]

    @property
    def rank(self) -> int:
        """The largest rank of any layer."""
        return max(a_RD.shape[0] for a_RD, _ in self.pairs.values())


def read(folder: Path | str) -> Adapter:
    """Read an adapter. Raises StateError for what is damaged, no LoRA, or more than a low-rank matrix per layer."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise StateError(f"cannot read a PEFT adapter in {folder}: {error}") from error
    if not isinstance(config, dict):
        raise StateError(f"cannot read a PEFT adapter in {folder}: {CONFIG} holds no object")
    if config.get("peft_type") != "LORA":
        raise StateError(f"a PEFT adapter must be of type LORA to become an expert, got {config.get('peft_type')!r}")
    for key, plain in REFUSED.items():
        if (config.get(key) or plain) != plain:
            raise StateError(f"a PEFT adapter with {key}={config[key]!r} cannot become an expert; allowed: {plain!r}")
    if str(began := config.get("init_lora_weights")).lower().startswith(MOVING):
        said = f"a PEFT adapter of init_lora_weights={began!r} belongs to weights of the model which that start changed"
        raise StateError(f"{said}; have PEFT save it converted (path_initial_model_for_weight_conversion)")
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        match = re.fullmatch(r"(?:base_model\.model\.)?(.+)\.(lora_[AB])(?:\.default)?\.weight", key)
        if match is None:
            raise StateError(f"a PEFT adapter holds {key!r}, which is no weight of a low-rank matrix")
        found.setdefault(match[1], {})[match[2]] = value
    if broken := [name for name, pair in found.items() if len(pair) != 2]:
        raise StateError(f"a PEFT adapter holds only one matrix of layer {broken[0]!r}")
    pairs = {name: (pair["lora_A"], pair["lora_B"]) for name, pair in found.items()}
    return Adapter(pairs, {name: _scaling(config, name, a.shape[0]) for name, (a, _) in pairs.items()})


def _scaling(config: Mapping[str, Any], name: str, rank: int) -> float:
    """alpha / rank, or alpha / √rank; patterns of PEFT give a layer another alpha."""
    alpha = float(config.get("lora_alpha", 8))
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", name):
            alpha = float(value)
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


@torch.no_grad()
def load_peft(model: nn.Module, folder: Path | str, expert: int) -> None:
    """Make an adapter of PEFT one expert of the model's pools.

    A smaller rank is padded with zeros; its scaling goes into B. Layers that the adapter does not touch get a zero
    expert. Raises StateError where the adapter is larger than the pool, or at a layer that has no pool.
    """
    adapter, layers = read(folder), adapted(model)
    if unknown := sorted(set(adapter.pairs) - set(layers)):
        raise StateError(f"the PEFT adapter is at {unknown[0]!r}, which has no pool in this model")
    pools = {name: _pool(layer, expert) for name, layer in layers.items()}
    for name, (a_RD, b_OR) in adapter.pairs.items():
        pool = pools[name]
        if a_RD.shape[0] > pool.rank or a_RD.shape[1] != pool.width or b_OR.shape[0] != pool.out:
            got = f"{tuple(a_RD.shape)} and {tuple(b_OR.shape)}"
            room = f"[≤ {pool.rank}, {pool.width}] and [{pool.out}, ≤ {pool.rank}]"
            raise StateError(f"the PEFT adapter's matrices at {name!r} are {got}; the pool takes {room}")
    for name, pool in pools.items():
        pool.lora_B[expert].zero_()
        if name in adapter.pairs:
            a_RD, b_OR = adapter.pairs[name]
            rank = a_RD.shape[0]
            pool.lora_A[expert].zero_()
            pool.lora_A[expert, :rank] = a_RD.to(pool.lora_A)
            pool.lora_B[expert, :, :rank] = b_OR.to(pool.lora_B) * (adapter.scaling[name] / pool.scaling)


def attach_peft(model: nn.Module, folders: Sequence[Path | str], pool: Pool | None = None) -> dict[str, AdaptedLinear]:
    """Attach one expert per adapter of PEFT in one call, at every layer that any of them touches.

    `pool` says the other parts; its size and rank follow from the adapters, and its gate defaults to `vector_gate`,
    to be made by `arrow_gates`, `mean_gates` or `fit_gates`.
    """
    if not folders:
        raise ParameterError("attach_peft needs at least one adapter")
    adapters = [read(folder) for folder in folders]
    names = {name for adapter in adapters for name in adapter.pairs}
    rank = max(adapter.rank for adapter in adapters)
    made = pool or Pool(gate="vector_gate")
    options = {**made.options, "experts": {**made.options.get("experts", {}), "rank": rank, "alpha": float(rank)}}
    linears = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if missing := sorted(names - linears):
        raise StateError(f"the PEFT adapters are at {missing[0]!r}, which is no linear layer of this model")
    layers = attach(model, lambda name, _: name in names, replace(made, experts=len(folders), options=options))
    for expert, folder in enumerate(folders):
        load_peft(model, folder, expert)
    return layers


def save_peft(model: nn.Module, folder: Path | str, expert: int, *, base: str | None = None) -> Path:
    """Write one expert as an adapter that `peft.PeftModel.from_pretrained` loads; `base` names the model it is for."""
    from safetensors.torch import save_file

    layers = adapted(model)
    if not layers:
        raise RoutingError("the model has no adapters to save")
    pools = {name: _pool(layer, expert) for name, layer in layers.items()}
    tensors: dict[str, Tensor] = {}
    for name, pool in pools.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = pool.lora_A[expert].detach().cpu().clone()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = pool.lora_B[expert].detach().cpu().clone()
    one = next(iter(pools.values()))
    alike = len({(pool.rank, pool.alpha) for pool in pools.values()}) == 1
    # the first pattern that ends a layer's name counts: longer names come first
    own = {} if alike else {re.escape(name): pools[name] for name in sorted(pools, key=len, reverse=True)}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": one.rank,
        "lora_alpha": one.alpha,
        "rank_pattern": {name: pool.rank for name, pool in own.items()},
        "alpha_pattern": {name: pool.alpha for name, pool in own.items()},
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "inference_mode": True,
        "target_modules": sorted(pools),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return folder


def _pool(layer: AdaptedLinear, expert: int) -> LoRA:
    pool = layer.layer.experts
    if not isinstance(pool, LoRA):
        raise RoutingError(f"PEFT's LoRA layout holds LoRA experts; the pool is of {type(pool).__name__}")
    if not 0 <= expert < pool.experts:
        raise ParameterError(f"the pool has experts 0 to {pool.experts - 1}, got {expert}")
    return pool
