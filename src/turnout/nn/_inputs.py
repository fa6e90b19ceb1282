"""What a language model is given, whichever way it is called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn


class Told(NamedTuple):
    """What the inputs of one call tell of its tokens; None where they do not.

    `ids` are [B, S], `mask` of padding [B, …], and `rows` has a row for each token: ids, or embeddings [B, S, D].
    """

    ids: Tensor | None
    mask: Tensor | None
    rows: Tensor | None


def told_by(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Told:
    """The token ids, padding and rows of one call, by name or by place."""
    named = {**dict(zip(inspect.signature(model.forward).parameters, args, strict=False)), **kwargs}
    ids, mask = kwargs.get("input_ids", args[0] if args else None), named.get("attention_mask")
    embedded = named.get("inputs_embeds")
    are_ids = isinstance(ids, Tensor) and ids.ndim == 2 and not ids.is_floating_point()
    are_rows = isinstance(embedded, Tensor) and embedded.ndim == 3
    plain = isinstance(mask, Tensor) and mask.ndim == 2  # a static cache may bring a mapping, or a mask of pairs
    rows = ids if are_ids else embedded if are_rows else None
    return Told(ids if are_ids else None, mask if plain else None, rows)
