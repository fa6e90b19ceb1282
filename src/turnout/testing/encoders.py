"""A sentence encoder of random weights, small enough to make in a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HIDDEN, INNER, LAYERS, WORDS, PLACES = 32, 64, 2, 30522, 256


def tensors(seed: int = 0) -> dict[str, Array]:
    """Weights under the names of published ones.

    >>> tensors()["encoder.layer.1.output.dense.weight"].shape
    (32, 64)
    """
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> Array:
        return np.asarray(rng.standard_normal(shape) * 0.3, dtype=np.float32)

    made = {
        "embeddings.word_embeddings.weight": some(WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": some(PLACES, HIDDEN),
        "embeddings.token_type_embeddings.weight": some(2, HIDDEN),
        "embeddings.LayerNorm.weight": 1 + some(HIDDEN),
        "embeddings.LayerNorm.bias": some(HIDDEN),
    }
    for layer in range(LAYERS):
        shapes: dict[str, tuple[int, int]] = {
            **dict.fromkeys(("attention.self.query", "attention.self.key", "attention.self.value"), (HIDDEN, HIDDEN)),
            "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (INNER, HIDDEN),
            "output.dense": (HIDDEN, INNER),
        }
        for name, shape in shapes.items():
            made[f"encoder.layer.{layer}.{name}.weight"] = some(*shape)
            made[f"encoder.layer.{layer}.{name}.bias"] = some(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            made[f"encoder.layer.{layer}.{name}.weight"] = 1 + some(HIDDEN)
            made[f"encoder.layer.{layer}.{name}.bias"] = some(HIDDEN)
    return made


def write(file: Path, held: dict[str, Array]) -> Path:
    """As safetensors, with an integer tensor among them as in published files."""
    held = {**held, "embeddings.position_ids": np.arange(PLACES, dtype=np.int64)}
    header: dict[str, Any] = {}
    place = 0
    for name, array in held.items():
        kind = "F32" if array.dtype == np.float32 else "I64"
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in held.values()))
    return file
