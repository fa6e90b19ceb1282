"""What encoders of texts share: unit rows, and a memory of the texts that were embedded last."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

REMEMBERED = 32_768  # texts; 50 MB at 384 dimensions


class Remembering(ABC):
    """Embeds texts; safe to share between threads. The last 32,768 texts are remembered.

    `id` tells weights apart: a router that was fitted on one refuses to run on another.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self._known: OrderedDict[bytes, Rows] = OrderedDict()
        self._lock = threading.Lock()

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """H, the width of a row."""

    def encode(self, texts: Sequence[str]) -> Rows:
        """Unit rows of shape (N, H), float32."""
        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        found.update(self._embed(fresh))
        with self._lock:
            self._known.update((key, found[key]) for key in fresh)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return np.stack([found[key] for key in keys]) if keys else np.empty((0, self.dimensions), np.float32)

    @abstractmethod
    def _embed(self, texts: dict[bytes, str]) -> Iterator[tuple[bytes, Rows]]:
        """The unit row (H,) of every text, in any order."""
