"""A sentence encoder of the BERT kind, run by numpy: tokens to a mean of contextual states, of unit length.

Shape letters: N texts, T tokens of a batch laid end to end, L tokens of one text, A heads, H hidden, I intermediate.

Texts are laid end to end instead of padded: all but attention is one product over T rows, and attention runs per text.

Source: Devlin et al., "BERT", 2019; Reimers and Gurevych, "Sentence-BERT", 2019, for the mean over tokens. Weights as
published for all-MiniLM-L6-v2 (safetensors). GELU is taken in its tanh form (Hendrycks and Gimpel, 2016), which differs
from the exact one by less than 0.001; embeddings agree with the published model's to a cosine of 0.9999.

Limits: float32 on the CPU, some 30 ms for 60 tokens on one core; at most 256 tokens of a text are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from turnout.errors import ParameterError, StateError
from turnout.signals.encoders.remembering import Remembering, Rows
from turnout.signals.encoders.wordpiece import WordPiece, words

LONGEST = 256  # tokens of a text, the marks at its ends included
HEAD = 32  # columns of one attention head
BATCH = 1024  # tokens worked on at once: their intermediate states stay in the processor's cache
START, END = "[CLS]", "[SEP]"
PUBLISHED = ("all-minilm-l6-v2",)
_VOCABULARY = Path(__file__).parent / "minilm" / "vocab.txt"
_TANH_SCALE, _CUBE = np.float32((2.0 / np.pi) ** 0.5), np.float32(0.044715)


class Transformer(Remembering):
    """A sentence encoder of the BERT kind."""

    def __init__(self, weights: dict[str, Rows], vocabulary: dict[str, int], id: str = "") -> None:
        super().__init__(id)
        self._weights = weights
        self._layers = [_Layer(weights, f"encoder.layer.{n}.") for n in range(_count(weights))]
        self._pieces = WordPiece(vocabulary)
        self._ends = vocabulary[START], vocabulary[END]

    @property
    def dimensions(self) -> int:
        """H."""
        return int(self._weights["embeddings.word_embeddings.weight"].shape[1])

    def ids(self, text: str) -> list[int]:
        """Token ids of a text between its two marks."""
        found = [id for word in words(text) for id in self._pieces.ids(word)]
        return [self._ends[0], *found[: LONGEST - 2], self._ends[1]]

    def _embed(self, texts: dict[bytes, str]) -> Iterator[tuple[bytes, Rows]]:
        ids = {key: self.ids(text) for key, text in texts.items()}
        for batch in _batches(ids):
            yield from zip(batch, self._forward([ids[key] for key in batch]), strict=True)

    def _forward(self, ids: Sequence[Sequence[int]]) -> Rows:
        ends = np.cumsum([0, *map(len, ids)])
        spans = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        token_T = np.concatenate([np.asarray(row) for row in ids])
        place_T = np.concatenate([np.arange(len(row)) for row in ids])
        held = self._weights
        state_TH = held["embeddings.word_embeddings.weight"][token_T]
        state_TH = state_TH + held["embeddings.position_embeddings.weight"][place_T]
        state_TH = state_TH + held["embeddings.token_type_embeddings.weight"][0]
        state_TH = _normalised(state_TH, held["embeddings.LayerNorm.weight"], held["embeddings.LayerNorm.bias"])
        for layer in self._layers:
            state_TH = layer(state_TH, spans)
        mean_NH = np.stack([state_TH[span].mean(axis=0) for span in spans])
        return np.asarray(mean_NH / np.linalg.norm(mean_NH, axis=1, keepdims=True), dtype=np.float32)


class _Layer:
    """Attention within each text, then a network of two layers; both are added to what came in, and normalised."""

    def __init__(self, weights: dict[str, Rows], prefix: str) -> None:
        def pair(name: str) -> tuple[Rows, Rows]:
            return weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]

        asked = [pair(f"attention.self.{name}") for name in ("query", "key", "value")]
        scale = np.float32(HEAD**-0.5)
        asked[0] = asked[0][0] * scale, asked[0][1] * scale
        self.asked_HJ = np.ascontiguousarray(np.concatenate([weight for weight, _ in asked]).T)
        self.asked_J = np.concatenate([bias for _, bias in asked])
        (mix_HH, self.mix_H), (into_IH, self.into_I), (out_HI, self.out_H) = map(
            pair, ("attention.output.dense", "intermediate.dense", "output.dense")
        )
        self.mix_HH, self.into_HI, self.out_IH = (np.ascontiguousarray(w.T) for w in (mix_HH, into_IH, out_HI))
        self.norms = pair("attention.output.LayerNorm"), pair("output.LayerNorm")

    def __call__(self, state_TH: Rows, spans: Sequence[slice]) -> Rows:
        asked_TJ = state_TH @ self.asked_HJ + self.asked_J
        seen_TH = np.empty_like(state_TH)
        for span in spans:
            seen_TH[span] = _attend(asked_TJ[span], state_TH.shape[1])
        state_TH = _normalised(state_TH + (seen_TH @ self.mix_HH + self.mix_H), *self.norms[0])
        inner_TI = _gelu(state_TH @ self.into_HI + self.into_I)
        return _normalised(state_TH + (inner_TI @ self.out_IH + self.out_H), *self.norms[1])


def _attend(asked_LJ: Rows, hidden: int) -> Rows:
    """Softmax attention of every token to every token of its text, shape (L, H)."""
    query_ALD, key_ALD, value_ALD = asked_LJ.reshape(len(asked_LJ), 3, hidden // HEAD, HEAD).transpose(1, 2, 0, 3)
    share_ALL = query_ALD @ key_ALD.transpose(0, 2, 1)
    share_ALL -= share_ALL.max(axis=2, keepdims=True)
    np.exp(share_ALL, out=share_ALL)
    share_ALL /= share_ALL.sum(axis=2, keepdims=True)
    return np.asarray((share_ALL @ value_ALD).transpose(1, 0, 2).reshape(len(asked_LJ), hidden))


def _normalised(state_TH: Rows, scale_H: Rows, shift_H: Rows) -> Rows:
    away_TH = state_TH - state_TH.mean(axis=1, keepdims=True)
    spread_T1 = np.sqrt((away_TH * away_TH).mean(axis=1, keepdims=True) + np.float32(1e-12))
    return np.asarray(away_TH / spread_T1 * scale_H + shift_H)


def _gelu(x_TI: Rows) -> Rows:
    inner_TI = x_TI * x_TI
    inner_TI *= _CUBE
    inner_TI += 1.0
    inner_TI *= x_TI
    inner_TI *= _TANH_SCALE
    np.tanh(inner_TI, out=inner_TI)
    inner_TI += 1.0
    inner_TI *= x_TI
    inner_TI *= np.float32(0.5)
    return inner_TI


def _batches(ids: dict[bytes, list[int]]) -> list[list[bytes]]:
    """Keys of texts in batches of about `BATCH` tokens, texts of like length together."""
    batches: list[list[bytes]] = []
    room = 0
    for key in sorted(ids, key=lambda key: len(ids[key])):
        room -= len(ids[key])
        if room < 0 or not batches:
            batches.append([])
            room = BATCH - len(ids[key])
        batches[-1].append(key)
    return batches


def _count(weights: dict[str, Rows]) -> int:
    return len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})


@cache
def load(file: Path) -> Transformer:
    """The encoder in a safetensors file, read once a process.

    Raises ParameterError where the file is missing and StateError where it is damaged.
    """
    if not file.is_file():
        raise ParameterError(f"the weights of the sentence encoder are not here: {file}")
    try:
        weights, id = read_tensors(file)
        tokens = _VOCABULARY.read_text(encoding="utf-8").split("\n")[:-1]
        return Transformer(weights, {token: place for place, token in enumerate(tokens)}, id)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise StateError(f"the sentence encoder {file} cannot be read: {error}") from error


def read_tensors(file: Path) -> tuple[dict[str, Rows], str]:
    """The float32 tensors of a safetensors file, and an id of its content."""
    held = np.memmap(file, dtype=np.uint8, mode="r")
    size = int(held[:8].view("<u8")[0])
    if size > len(held) - 8:
        raise ValueError(f"a header of {size} bytes in a file of {len(held)}")
    header = json.loads(held[8 : 8 + size].tobytes())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":  # positions are stored as integers; they are not needed
            continue
        first, last = entry["data_offsets"]
        flat = np.frombuffer(held[8 + size + first : 8 + size + last].tobytes(), dtype="<f4")
        tensors[name] = flat.reshape(entry["shape"]).astype(np.float32, copy=False)
    return tensors, "transformer-" + hashlib.sha256(held.data).hexdigest()[:12]
