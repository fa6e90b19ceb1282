"""A sentence embedding by a transformer: what the static table was distilled from, at a hundred times its cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from turnout.base import Of
from turnout.errors import ParameterError, StateError
from turnout.features import Floats
from turnout.signals.base import Signal

if TYPE_CHECKING:
    from turnout.signals.encoders.transformer import Transformer

__all__ = ["Sentence"]


class Sentence(Signal):
    """Unit rows of shape (N, 384), float32: their dot product is the cosine similarity of two texts.

    `encoder` is `all-minilm-l6-v2`, whose weights `turnout models pull all-minilm-l6-v2` fetches (91 MB), or the path
    of a safetensors file with a model of that kind. Nothing is learned from texts; `fit` notes the weights' identity,
    so that a router refuses to run on others than its own.

    Source: `turnout.signals.encoders.transformer`. Limits: tens of milliseconds a text on one core, so servers run it
    in a thread; 256 tokens are read; the model is mostly English.
    """

    blocking = True
    rules: ClassVar = {"encoder": Of((str,))}

    def __init__(self, encoder: str = "all-minilm-l6-v2") -> None:
        self.encoder = encoder

    def _fit(self, texts: list[str]) -> None:
        self.table_ = self._load().id

    def _transform(self, texts: list[str]) -> Floats:
        encoder = self._load()
        if getattr(self, "table_", encoder.id) != encoder.id:
            raise StateError(f"fitted on the weights {self.table_}, but {self.encoder!r} is {encoder.id}; refit")
        return encoder.encode(texts)

    def _load(self) -> Transformer:
        from turnout.config import home
        from turnout.config import load as configuration
        from turnout.signals.encoders.transformer import PUBLISHED, load

        if self.encoder not in PUBLISHED:
            return load(Path(self.encoder))
        name = f"{self.encoder}.safetensors"
        file = home() / "models" / name
        if not file.is_file():  # a configuration may keep weights elsewhere
            file = home(configuration()) / "models" / name
        if not file.is_file():
            raise ParameterError(
                f"the weights of {self.encoder} are not here; fetch them with `turnout models pull {self.encoder}`"
            )
        return load(file)
