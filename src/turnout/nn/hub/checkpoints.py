"""MoE blocks of a checkpoint folder (config.json and safetensors files), without loading the rest of the model."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from turnout.errors import StateError
from turnout.nn.hub.layouts import layer_of, state_of
from turnout.nn.layer import RoutedLayer

_BLOCK = re.compile(
    r"(.*layers\.(\d+)\.(?:mlp|block_sparse_moe))\.(gate|experts|shared_expert|shared_expert_gate)\.(.+)"
)
_WRITTEN = {"mixtral": ("mixtral", "block_sparse_moe"), "olmoe": ("list", "mlp"), "qwen2_moe": ("list", "mlp")}
_WRITTEN["qwen3_moe"] = ("list", "mlp")


def load_checkpoint(folder: Path | str) -> dict[int, RoutedLayer]:
    """The routed layers of a Mixtral, OLMoE, Qwen2-MoE or Qwen3-MoE checkpoint by their number in the model.

    Reads only the blocks' tensors. Raises StateError for no such folder, another architecture or another layout.
    """
    folder = Path(folder)
    options = _options(_config(folder))
    blocks: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for file in _files(folder):
        for number, key, tensor in _tensors(file):
            blocks[number][key] = tensor
    found = {}
    for number in sorted(blocks):
        if "gate.weight" not in blocks[number]:  # a dense layer between routed ones
            continue
        try:
            found[number] = layer_of(blocks[number], **options)
        except StateError as error:
            raise StateError(f"{folder.name}, layer {number}: {error}") from None
    if not found:
        raise StateError(f"{folder.name} has no MoE block: no tensor is named layers.N.mlp.gate.weight or the like")
    return found


def save_checkpoint(layers: Mapping[int, RoutedLayer], file: Path | str, architecture: str = "mixtral") -> None:
    """Write layers' tensors as one safetensors file, under the names of an architecture's checkpoints.

    `architecture` is `mixtral`, `olmoe`, `qwen2_moe` or `qwen3_moe`. Raises StateError for another.
    """
    from safetensors.torch import save_file

    if architecture not in _WRITTEN:
        raise StateError(f"`architecture` must be one of {', '.join(_WRITTEN)}, got {architecture!r}")
    layout, block = _WRITTEN[architecture]
    state = {
        f"model.layers.{number}.{block}.{key}": tensor.contiguous()
        for number, layer in layers.items()
        for key, tensor in state_of(layer, layout).items()
    }
    save_file(state, str(file), metadata={"format": "pt"})


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise StateError(f"{folder} is no checkpoint folder: it has no config.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of the router."""
    architecture = config.get("model_type")
    if architecture not in _WRITTEN:
        raise StateError(f"checkpoints of {', '.join(_WRITTEN)} can be read, got {architecture!r}")
    normalize = architecture == "mixtral" or bool(config.get("norm_topk_prob", False))
    k = config.get("num_experts_per_tok", {"mixtral": 2, "qwen2_moe": 4}.get(str(architecture), 8))
    return {"k": k, "normalize": normalize, "activation": config.get("hidden_act", "silu")}


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise StateError(f"{folder} has no safetensors file")
    return files


def _tensors(file: Path) -> list[tuple[int, str, Tensor]]:
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as opened:
        matches = [match for key in opened.keys() if (match := _BLOCK.fullmatch(key))]  # noqa: SIM118 - not a dict
        return [(int(m[2]), f"{m[3]}.{m[4]}", opened.get_tensor(m[0])) for m in matches]
