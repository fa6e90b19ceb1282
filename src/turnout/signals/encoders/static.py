"""A static encoder: a row per WordPiece token, and a text is the normalised sum of its tokens' rows.

Shape letters: N texts, V vocabulary, D dimensions, W words, C cached words.

Rows already carry the token's weight, so the weighted mean is a sum up to the final normalisation. Words, not tokens,
are remembered: their summed rows lie in one float32 matrix, so that a text costs one gather and one sum.

Source: Model2Vec (Tulkens and van Dongen, 2024) for the idea of a table distilled from a sentence encoder; SIF (Arora
et al., "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", 2017) for weighting tokens by their frequency.

Limits: word order is not seen; two texts of the same words have the same embedding.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ParameterError, StateError
from turnout.signals.encoders.wordpiece import LONGEST, UNKNOWN, WordPiece, bag, words

SHIPPED = ("minilm",)
CACHED_WORDS = 8192  # 8 MB at 256 dimensions
QUICK = 5000  # squared characters of unseen words that are split within a millisecond


class _Words:
    """Summed rows of the words seen so far; a full one is replaced as a whole, so readers never see it change."""

    def __init__(self, dimensions: int, capacity: int = CACHED_WORDS) -> None:
        self.slots: dict[str, int] = {}
        self.rows_CD = np.empty((capacity, dimensions), dtype=np.float32)


class StaticEncoder:
    """Embeds texts with a table of int8 rows. Safe to share between threads; equal texts give equal bits.

    `table_VD` holds int8 values; row v stands for `table_VD[v] * scale_V[v]`, the token's weight included.
    """

    def __init__(
        self, table_VD: NDArray[np.int8], scale_V: NDArray[np.float32], vocabulary: Mapping[str, int], id: str = ""
    ) -> None:
        self.table_VD, self.scale_V, self.vocabulary, self.id = table_VD, scale_V, vocabulary, id
        self._pieces = WordPiece(vocabulary)
        self._known = _Words(self.dimensions)
        self._lock = threading.Lock()

    @property
    def dimensions(self) -> int:
        return int(self.table_VD.shape[1])

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        return [id for word in words(text) for id in self._pieces.ids(word)]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows of shape (N, D), float32; a text without any known token gives a row of zeros."""
        out_ND = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for out_D, text in zip(out_ND, texts, strict=True):
            self._encode_one(text, out_D)
        return out_ND

    def knows(self, text: str) -> bool:
        """Whether the text's words are remembered, up to a few short ones: then it is embedded in a fraction of a ms.

        Splitting a word takes time in the square of its length.
        """
        unseen = set(bag(text)).difference(self._known.slots)
        return sum(len(word) ** 2 for word in unseen) <= QUICK

    def _encode_one(self, text: str, out_D: NDArray[np.float32]) -> None:
        known, parts = self._known, bag(text)
        try:
            slots = list(map(known.slots.__getitem__, parts))
        except KeyError:
            known, slots = self._learn(parts)
        np.add.reduce(known.rows_CD.take(slots, axis=0), axis=0, out=out_D)
        norm = math.sqrt(out_D @ out_D)
        if norm > 0.0:
            out_D /= norm

    def _learn(self, parts: list[str]) -> tuple[_Words, list[int]]:
        keys = [word if len(word) <= LONGEST else UNKNOWN for word in parts]
        with self._lock:
            known = self._known
            missing = {word for word in keys if word not in known.slots}
            if len(known.slots) + len(missing) > len(known.rows_CD):
                missing = set(keys)
                known = self._known = _Words(self.dimensions, max(CACHED_WORDS, len(missing)))
            if missing:
                first = len(known.slots)
                known.rows_CD[first : first + len(missing)] = self._word_rows(missing)
                known.slots.update(
                    zip(missing, count(first), strict=False)
                )  # last: who finds a word also finds its row
            return known, list(map(known.slots.__getitem__, keys))

    def _word_rows(self, new: Collection[str]) -> NDArray[np.float32]:
        """Summed rows of W words, of shape (W, D)."""
        pieces = self._pieces
        ids_W = [pieces.unknown if word == UNKNOWN else pieces.ids(word) for word in new]
        pieces_P = [id for ids in ids_W for id in ids]
        first_W = [0, *accumulate(map(len, ids_W[:-1]))]
        rows_PD = self.table_VD.take(pieces_P, axis=0) * self.scale_V.take(pieces_P)[:, None]
        return np.asarray(np.add.reduceat(rows_PD, first_W, axis=0))


@cache
def load(name: str) -> StaticEncoder:
    """The shipped encoder of that name, or the one in the folder of that path; read once a process.

    Raises ParameterError for an unknown name and StateError for a damaged folder.
    """
    folder = Path(__file__).parent / name if name in SHIPPED else Path(name)
    if not (folder / "table.npy").is_file():
        raise ParameterError(f"encoder must be one of {', '.join(SHIPPED)} or a folder with table.npy, got {name!r}")
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError) as error:
        raise StateError(f"the encoder in {folder} cannot be read: {error}") from error


def _read(folder: Path) -> StaticEncoder:
    table_VD = np.asarray(np.load(folder / "table.npy", mmap_mode="r", allow_pickle=False))  # read row by row, on use
    scale_V = np.load(folder / "scale.npy", allow_pickle=False)
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    card: dict[str, Any] = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    if table_VD.ndim != 2 or table_VD.dtype != np.int8 or len(tokens) != len(table_VD) or len(scale_V) != len(table_VD):
        raise ValueError(f"table {table_VD.shape} of {table_VD.dtype}, {len(scale_V)} scales, {len(tokens)} tokens")
    return StaticEncoder(table_VD, scale_V, {token: id for id, token in enumerate(tokens)}, card["id"])
