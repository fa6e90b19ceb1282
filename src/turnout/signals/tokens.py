"""Which WordPiece tokens a text holds, and how often.

>>> rows = Tokens().transform(["to be or not to be"])
>>> len(rows.indices), sorted(rows.data.tolist())
(4, [1.0, 1.0, 2.0, 2.0])
"""

from __future__ import annotations

from itertools import accumulate
from typing import ClassVar

import numpy as np

from turnout.base import Of
from turnout.features import Sparse
from turnout.signals.base import Signal
from turnout.signals.encoders.static import load

__all__ = ["Tokens"]


class Tokens(Signal):
    """Counts by token id, sparse, of shape (N, V): what an encoder that is trained from its table up reads.

    `encoder` names the shipped vocabulary or is a folder's path, as for `embedding`. Nothing is learned. Limits: word
    order is not seen; the vocabulary is lower-case English, other scripts fall into pieces.
    """

    rules: ClassVar = {"encoder": Of((str,))}

    def __init__(self, encoder: str = "minilm") -> None:
        self.encoder = encoder

    def _transform(self, texts: list[str]) -> Sparse:
        encoder = load(self.encoder)
        found = [np.unique(np.asarray(encoder.ids(text), dtype=np.int32), return_counts=True) for text in texts]
        indptr = np.array([0, *accumulate(len(ids) for ids, _ in found)], dtype=np.int64)
        ids_Z = np.concatenate([np.zeros(0, np.int32), *(ids for ids, _ in found)]).astype(np.int32)
        counts_Z = np.concatenate([np.zeros(0, np.float32), *(counts for _, counts in found)]).astype(np.float32)
        return Sparse(indptr, ids_Z, counts_Z, len(encoder.vocabulary))
