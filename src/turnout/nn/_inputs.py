"""What a language model is given, whichever way it is called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def ids_and_mask(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Tensor | None, Tensor | None]:
    """Token ids [B, S] and the mask of padding [B, …] of one call, by name or by place; None where it has none."""
    named = {**dict(zip(inspect.signature(model.forward).parameters, args, strict=False)), **kwargs}
    ids, mask = kwargs.get("input_ids", args[0] if args else None), named.get("attention_mask")
    are_ids = isinstance(ids, Tensor) and ids.ndim == 2 and not ids.is_floating_point()
    plain = isinstance(mask, Tensor) and mask.ndim == 2  # a static cache may bring a mapping, or a mask of pairs
    return ids if are_ids else None, mask if plain else None
