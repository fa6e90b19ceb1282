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
_ASCII_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]").findall


def words(text: str) -> list[str]:
    """The normalised words and punctuation marks of a text, in order.

    >>> words("Don't panic: caf\u00e9!")
    ['don', "'", 't', 'panic', ':', 'cafe', '!']
    """
    if text.isascii():
        return _ASCII_WORDS(text.encode().translate(_LOWER, _CONTROL).decode())
    return _full_split()(text)


def word_ids(word: str, vocabulary: Mapping[str, int]) -> list[int]:
    """Ids of a word's pieces, longest match first; `[UNK]` alone where some part matches nothing.

    >>> word_ids("going", {"go": 0, "##ing": 1, "[UNK]": 2})
    [0, 1]
    >>> word_ids("gone", {"go": 0, "##ing": 1, "[UNK]": 2})
    [2]
    """
    if len(word) > LONGEST:
        return [vocabulary[UNKNOWN]]
    ids: list[int] = []
    start = 0
    while start < len(word):
        end = _longest_match(word, start, vocabulary)
        if end == start:
            return [vocabulary[UNKNOWN]]
        ids.append(vocabulary[word[start:end] if start == 0 else "##" + word[start:end]])
        start = end
    return ids


def _longest_match(word: str, start: int, vocabulary: Mapping[str, int]) -> int:
    prefix = "##" if start else ""
    for end in range(len(word), start, -1):
        if prefix + word[start:end] in vocabulary:
            return end
    return start


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
