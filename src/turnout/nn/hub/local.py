"""The project's own small models, from their GGUF files into transformers."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch

from turnout.errors import ConfigError, ModelError


def load_local(name: str, *, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, tokenizer) of a model of `turnout models list`, such as `smollm2-135m`, with plain torch weights.

    The file's blocks are unpacked, so the model trains and takes adapters like any other. Raises ModelError where the
    weights are not here, saying how to get them, or where the file cannot be read; UnknownNameError for another name;
    ConfigError without transformers and gguf.

    Limits: the weights carry the file's quantisation error; reading takes some 20 s of CPU time, most of
    it for the vocabulary, and 4 bytes a parameter.
    """
    from turnout import models

    models.get(name)  # an encoder is no language model
    return load_gguf(models.path(name), dtype=dtype)


def load_gguf(file: Path | str, *, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """(model, tokenizer) of a GGUF file that transformers knows the architecture of. Errors as `load_local`."""
    file = Path(file)
    if not file.is_file():
        raise ModelError(f"there is no file {file}")
    try:
        import gguf  # noqa: F401 - transformers reads the file through it
        import transformers
    except ImportError as error:
        raise ConfigError("GGUF files need transformers and gguf: install turnout[nn-hub]") from error
    with _quiet():
        options: dict[str, Any] = {"gguf_file": file.name, "dtype": dtype}
        if hasattr(transformers, "GgufConfig"):
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        try:
            packed = transformers.AutoModelForCausalLM.from_pretrained(str(file.parent), **options)
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        except (ValueError, KeyError, OSError, RuntimeError, struct.error) as error:
            raise ModelError(f"{file.name} cannot be read as a causal language model: {error}") from error
    return _plain(packed), tokenizer


def _plain(packed: Any) -> Any:
    """The same weights in a model that does not think itself quantised: such a one refuses training and saving."""
    import transformers

    config = packed.config
    for field in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(config, field):
            delattr(config, field)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=packed.dtype)
    model.load_state_dict(packed.state_dict(), assign=True)
    model.tie_weights()
    for name, buffer in packed.named_buffers():  # rotary tables are no part of the state
        parent, _, last = name.rpartition(".")
        model.get_submodule(parent).register_buffer(last, buffer, persistent=False)
    model.generation_config = packed.generation_config
    return model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and notes, whatever they were set to before."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the bar over a file's tensors cannot be turned off otherwise
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
