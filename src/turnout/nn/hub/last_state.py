"""A language model as a sentence encoder: a text's row is the model's last state of its last token, of unit length.

What a model would say next depends on how hard and of what kind a question is, and that state is all it says it from.
Source: Azaria and Mitchell, "The Internal State of an LLM Knows When It's Lying", 2023, and Kadavath et al., "Language
Models (Mostly) Know What They Know", 2022, who read correctness from such states; here a small model's states tell
which of several larger ones will be right.

Shape letters: N texts, T tokens of one text, H width of the model.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from turnout import config, models
from turnout.nn.hub.local import load_gguf
from turnout.signals.encoders.remembering import Remembering, Rows

__all__ = ["LastState", "load"]

LONGEST = 256  # tokens of a text: its last ones, as questions tend to stand at the end
FAST = ("avx512_bf16", "amx_bf16")  # where products in bfloat16, as such models were published, are the fast ones
_READING = threading.Lock()


class LastState(Remembering):
    """Rows of a causal language model of transformers and its tokenizer.

    Texts pass one at a time, so that a row does not depend on what else is asked. Limits: on the CPU; some 2.5 ms a
    token of a model of 0.5 billion parameters on one core with products in bfloat16.
    """

    def __init__(self, model: Any, tokenizer: Any, id: str = "") -> None:
        super().__init__(id)
        self._states, self._tokenizer = model.base_model, tokenizer  # without the head, whatever the family calls it

    @property
    def dimensions(self) -> int:
        """H."""
        return int(self._states.config.hidden_size)

    @torch.inference_mode()
    def _embed(self, texts: dict[bytes, str]) -> Iterator[tuple[bytes, Rows]]:
        for key, text in texts.items():
            ids = self._tokenizer(text)["input_ids"][-LONGEST:] or [self._tokenizer.eos_token_id]
            state_1TH = self._states(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
            row_H = state_1TH[0, -1].float().numpy()
            yield key, np.asarray(row_H / np.linalg.norm(row_H), dtype=np.float32)


def load(encoder: str) -> LastState:
    """The model of that name of `turnout models list`, or of a GGUF file, read once a process.

    Raises UnknownNameError, ModelError (weights that are not here, or damaged) and ConfigError (no transformers).
    """
    file = Path(encoder)
    if file.suffix != ".gguf":
        file = models.path(encoder, config.home_with(f"models/{models.get(encoder).file}"))
    with _READING:  # a cache alone would let two threads read gigabytes twice
        return _read(file)


@cache
def _read(file: Path) -> LastState:
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    quick = any(told.get(name) for name in FAST)
    model, tokenizer = load_gguf(file, dtype=torch.bfloat16 if quick else torch.float32)
    model.set_attn_implementation("eager")  # torch's fused attention takes four times as long, on a CPU in bfloat16
    model.requires_grad_(False)
    with file.open("rb") as held:
        digest = hashlib.file_digest(held, "sha256").hexdigest()
    return LastState(model, tokenizer, f"last-state-{digest[:12]}")
