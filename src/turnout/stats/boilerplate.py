"""Lines that many texts share: instructions, worked examples, the system prompt of an application.

Source: the removal of paragraphs that other documents hold, by hash, from web text (Wenzek et al., "CCNet", 2020).

Shape letter: L lines.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

_BLANK = zlib.crc32(b"")


def shared_lines(texts: Sequence[str], common: float, fewest: int) -> NDArray[np.uint32]:
    """What the lines are known by that at least a share `common` and `fewest` of the different texts hold, shape (L,).

    Lines are compared without the space around them; a text that repeats a line counts once.
    """
    keys = array("I")
    for text in set(texts):
        if "\n" in text:
            keys.extend(set(map(_key, _lines(text))))
    key_L, count_L = np.unique(np.frombuffer(keys, dtype=np.uint32), return_counts=True)
    return np.asarray(key_L[(count_L >= max(fewest, common * len(set(texts)))) & (key_L != _BLANK)])


def without(text: str, shared: Collection[int]) -> str:
    r"""The lines of a text that are not shared; the text itself where there are none.

    >>> shared = set(shared_lines([f"Answer briefly.\n{n}?" for n in range(9)], common=0.5, fewest=2).tolist())
    >>> without("Answer briefly.\n8?", shared), without("Answer briefly.", shared)
    ('8?', 'Answer briefly.')
    """
    kept = [line for line in _lines(text) if line.strip() and _key(line) not in shared]
    return b"\n".join(kept).decode("utf-8", "surrogatepass") or text


def _lines(text: str) -> list[bytes]:
    return text.encode("utf-8", "surrogatepass").splitlines()


def _key(line: bytes) -> int:
    return zlib.crc32(line.strip())
