"""A static sentence embedding: WordPiece tokens, a table of rows distilled from a sentence encoder, their sum.

>>> rows = Embedding().transform(["How do I sort a list in Python?", "sort a python list", "Who painted this ceiling?"])
>>> bool(rows[0] @ rows[1] > rows[0] @ rows[2])
True
"""

from __future__ import annotations

from typing import ClassVar

from turnout.base import Of
from turnout.errors import StateError
from turnout.features import Floats, clip
from turnout.signals.base import Signal, is_long
from turnout.signals.encoders.static import load

__all__ = ["Embedding"]


class Embedding(Signal):
    """Unit rows of shape (N, 256), float32: their dot product is the cosine similarity of two texts.

    `encoder` names a shipped table or is the path of a folder made by `scripts/distill_encoder.py`. Nothing is learned
    from texts; `fit` notes the table's identity, so that a router refuses to run on another table than its own.

    Source: `turnout.signals.encoders.static`. Limits: word order is not seen, and the teacher is mostly English.
    """

    rules: ClassVar = {"encoder": Of((str,))}

    def __init__(self, encoder: str = "minilm") -> None:
        self.encoder = encoder

    def _fit(self, texts: list[str]) -> None:
        self.table_ = load(self.encoder).id

    def is_slow(self, text: str) -> bool:
        return is_long(text) and not load(self.encoder).knows(clip(text))

    def _transform(self, texts: list[str]) -> Floats:
        encoder = load(self.encoder)
        if getattr(self, "table_", encoder.id) != encoder.id:
            raise StateError(f"fitted on the encoder table {self.table_}, but {self.encoder!r} is {encoder.id}; refit")
        return encoder.encode(texts)
