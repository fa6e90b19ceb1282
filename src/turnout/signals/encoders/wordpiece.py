"""BERT's uncased WordPiece: text to words, words to ids of a vocabulary.

The result equals `tokenizers` with `BertNormalizer`, `BertPreTokenizer` and `WordPiece`, except that names of special
tokens in a text (`[SEP]`) are plain text. Splitting is apart from the look-up, so that a caller can remember words.

Source: Wu et al., "Google's Neural Machine Translation System", 2016, section 4.1, greedy longest match first as in
Devlin et al., "BERT", 2019.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

UNKNOWN = "[UNK]"
LONGEST = 100  # characters; a longer word is unknown, as in BERT
_LOWER = bytes(range(128)).lower() + bytes(range(128, 256))
_CONTROL = bytes(byte for byte in (*range(32), 127) if byte not in b"\t\n\r")
_MARKS = bytes(byte for byte in range(33, 127) if not chr(byte).isalnum())
_NOT_MARKS = bytes(byte for byte in range(256) if byte not in _MARKS)
_PARTED = bytes(32 if byte in _MARKS else byte for byte in _LOWER)  # lower case, each mark a space
_ASCII_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]").findall


def words(text: str) -> list[str]:
    """The normalised words and punctuation marks of a text, in order.

    >>> words("Don't panic: caf\u00e9!")
    ['don', "'", 't', 'panic', ':', 'cafe', '!']
    """
    if text.isascii():
        return _ASCII_WORDS(text.encode().translate(_LOWER, _CONTROL).decode())
    return _full_split()(text)


def bag(text: str) -> list[str]:
    """The words of `words`, in no order, for those to whom none matters: by tables, in half the time.

    >>> bag("Don't panic: caf\u00e9!") == words("Don't panic: caf\u00e9!"), sorted(bag("Hi, you!"))
    (True, ['!', ',', 'hi', 'you'])
    """
    if not text.isascii():
        return _full_split()(text)
    raw = text.encode()
    return [*raw.translate(_PARTED, _CONTROL).decode().split(), *raw.translate(None, _NOT_MARKS).decode()]


class WordPiece:
    """Splits words into the ids of a vocabulary's pieces, longest match first.

    >>> pieces = WordPiece({"go": 0, "##ing": 1, "[UNK]": 2})
    >>> pieces.ids("going"), pieces.ids("gone")
    ([0, 1], [2])
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.unknown = [vocabulary[UNKNOWN]]
        self._starts = {piece: id for piece, id in vocabulary.items() if not piece.startswith("##")}
        self._continuations = {piece[2:]: id for piece, id in vocabulary.items() if piece.startswith("##")}
        self._longest = max(map(len, vocabulary))

    def ids(self, word: str) -> list[int]:
        """Ids of a word's pieces; `[UNK]` alone where some part of the word matches nothing."""
        if len(word) > LONGEST:
            return self.unknown
        ids: list[int] = []
        start, pieces = 0, self._starts
        while start < len(word):
            end = min(len(word), start + self._longest)
            while (id := pieces.get(word[start:end])) is None:
                end -= 1
                if end == start:
                    return self.unknown
            ids.append(id)
            start, pieces = end, self._continuations
        return ids


@cache
def _full_split() -> Callable[[str], list[str]]:
    """The split of any Unicode text. Imported late: plain ASCII, the common case, never needs it."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalise = BertNormalizer().normalize_str
    split = BertPreTokenizer().pre_tokenize_str

    def full_split(text: str) -> list[str]:
        whole = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates have no UTF-8 form
        return [word for word, _ in split(normalise(whole))]

    return full_split
