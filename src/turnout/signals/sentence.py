"""A text's embedding by a transformer: a sentence encoder, from which the static table was distilled, or a small
language model, which also knows how hard a question is."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from turnout.base import Of
from turnout.errors import ConfigError, ParameterError, StateError
from turnout.features import Floats
from turnout.signals.base import Signal

if TYPE_CHECKING:
    from turnout.signals.encoders.remembering import Remembering

__all__ = ["Sentence"]

LANGUAGE_MODELS = "turnout.nn.hub.last_state"  # where torch may be; imported by name, as it stands above this room


class Sentence(Signal):
    """Unit rows of shape (N, H), float32: their dot product is the cosine similarity of two texts.

    `encoder` is `all-minilm-l6-v2` (H = 384; `turnout models pull all-minilm-l6-v2` fetches 91 MB) or the path of a
    safetensors file with a model of that kind; or a language model of `turnout models list`, such as
    `qwen2.5-coder-0.5b` (H = 896), or a GGUF file, whose rows are its states of a text's last token (needs
    `turnout[nn-hub]`). Nothing is learned from texts; `fit` notes the weights' identity, so that a router refuses to
    run on others than its own.

    Source: `turnout.signals.encoders.transformer` and `turnout.nn.hub.last_state`. Limits: tens of milliseconds a text
    on one core, hundreds by a language model, so servers run it in a thread; 256 tokens are read, of a language model
    the last ones; all-MiniLM is mostly English, and a language model's rows serve estimators, not likeness of meaning.
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

    def _load(self) -> Remembering:
        from turnout.config import home_with
        from turnout.signals.encoders.transformer import PUBLISHED, load

        file = Path(self.encoder)
        if self.encoder not in PUBLISHED:
            other = file.suffix == ".gguf" or not (file.suffix == ".safetensors" or file.is_file())
            return self._language_model() if other else load(file)
        kept = f"models/{self.encoder}.safetensors"
        file = home_with(kept) / kept
        if not file.is_file():
            raise ParameterError(
                f"the weights of {self.encoder} are not here; fetch them with `turnout models pull {self.encoder}`"
            )
        return load(file)

    def _language_model(self) -> Remembering:
        if importlib.util.find_spec("torch") is None:
            raise ConfigError(f"{self.encoder!r} as an encoder needs torch: pip install 'turnout[nn-hub]'")
        made: Remembering = importlib.import_module(LANGUAGE_MODELS).load(self.encoder)
        return made
