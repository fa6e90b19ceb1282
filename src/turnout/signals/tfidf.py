"""Word and character n-grams, weighted by how rare they are.

>>> rows = Tfidf(min_df=1).fit(["sort a list", "sort an array", "who painted it"]).transform(["sort it"])
>>> rows.shape[0], round(float((rows.data**2).sum()), 6)
(1, 1.0)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate, chain
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.errors import ParameterError
from turnout.features import Sparse
from turnout.signals.base import Signal
from turnout.unspaced import UNSPACED

__all__ = ["Tfidf"]

_CACHED_UNITS = 20_000
_REMEMBERED_LENGTH = 60  # characters
_ASCII_WORDS = re.compile(r"\w\w+").findall  # finds what scikit-learn's default pattern, \b\w\w+\b, finds
_ANY_WORDS = re.compile(rf"[^\W{UNSPACED}]{{2,}}|[{UNSPACED}]").findall
_BELOW, _ABOVE = (np.int32(column).tobytes() for column in (-1, 2**31 - 1))  # no column's
_NO_COLUMNS, _NOTHING = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)

_MOST = 8192  # more than any n-gram can occur in the 2,001 characters that are read
_DAMPED = np.concatenate([[0.0], 1.0 + np.log(np.arange(1.0, _MOST))]).astype(np.float32)  # 1 + ln(count), by count

Span: TypeAlias = tuple[int, int]
Row: TypeAlias = tuple[NDArray[np.int32], NDArray[np.float32]]
Part: TypeAlias = tuple[bytes, list[str]]


class Tfidf(Signal):
    """Sparse rows of shape (N, D) and unit length: a block of word n-grams, then a block of character n-grams.

    `words` and `chars` are (shortest, longest) n-grams, (0, 0) for none; characters are taken inside words, padded
    with a space. Of Chinese and Japanese every letter is a word, so that 2-grams are pairs of letters, as in Lucene's
    CJKAnalyzer. Each block keeps its `max_features` most frequent n-grams found in at least `min_df` texts, counts
    as 1 + ln(count), and has unit length; with both blocks each is scaled by 1/√2. A text without any known n-gram
    gives an empty row.

    Source: Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988; values equal those of
    scikit-learn's `TfidfVectorizer(sublinear_tf=True)` with analyzers `word`, but for Chinese and Japanese, and
    `char_wb`.
    Limits: n-grams not seen in `fit` are ignored; Thai, Lao and Khmer are cut at spaces alone.
    """

    rules: ClassVar[dict[str, Rule]] = {
        "words": Of((tuple, list)),
        "chars": Of((tuple, list)),
        "max_features": Number(1, 1_000_000, integer=True),
        "min_df": Number(1, integer=True),
    }

    def __init__(
        self,
        words: Span = (1, 2),
        chars: Span = (3, 5),
        max_features: int = 8000,
        min_df: int = 2,
    ) -> None:
        self.words, self.chars, self.max_features, self.min_df = words, chars, max_features, min_df

    def check(self) -> None:
        """Raise ParameterError for a parameter that breaks its rule."""
        super().check()
        for name in ("words", "chars"):
            span = getattr(self, name)
            whole = len(span) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in span)
            if not whole or not (tuple(span) == (0, 0) or 1 <= span[0] <= span[1] <= 8):
                raise ParameterError(
                    f"Tfidf: `{name}` must be (shortest, longest) with 1 <= both <= 8, or (0, 0), got {span!r}"
                )
        if tuple(self.words) == tuple(self.chars) == (0, 0):
            raise ParameterError("Tfidf: one of `words` and `chars` must not be (0, 0)")

    def _fit(self, texts: list[str]) -> None:
        self.word_terms_, self.word_idf_ = self._learn(texts, self.words, _whole, _word_grams)
        self.char_terms_, self.char_idf_ = self._learn(texts, self.chars, _units, _char_grams)

    def _learn(
        self,
        texts: list[str],
        span: Span,
        units: Callable[[str], list[str]],
        grams: Callable[[str, Span], list[str]],
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Terms, joined by newlines as UTF-8 bytes (no n-gram holds a newline), and their inverse frequencies."""
        if not span[0]:
            return np.empty(0, dtype=np.uint8), _NOTHING
        ids: dict[str, int] = {}
        seen: dict[str, list[int]] = {}  # units recur, so each is cut into n-grams once
        rows = []
        for text in texts:
            parts = units(text.lower())
            for unit in parts:
                if unit not in seen:
                    seen[unit] = [ids.setdefault(gram, len(ids)) for gram in grams(unit, span)]
            rows.append(np.fromiter(chain.from_iterable(map(seen.__getitem__, parts)), dtype=np.int32))
        kept, found = self._kept(sorted(ids), ids, rows)
        terms = np.frombuffer("\n".join(kept).encode("utf-8", "surrogatepass"), dtype=np.uint8)
        return terms, (np.log((1 + len(texts)) / (1 + found)) + 1.0).astype(np.float32)

    def _kept(
        self, terms: list[str], ids: dict[str, int], rows: list[NDArray[np.int32]]
    ) -> tuple[list[str], NDArray[np.int64]]:
        """The chosen terms in order, and the number of texts that hold each."""
        if not terms:
            return [], np.empty(0, dtype=np.int64)
        order = np.array([ids[term] for term in terms])
        total = np.bincount(np.concatenate(rows), minlength=len(ids))[order]
        texts = np.bincount(np.concatenate([np.unique(row) for row in rows]), minlength=len(ids))[order]
        kept = np.flatnonzero(texts >= min(self.min_df, len(rows)))
        if len(kept) > self.max_features:
            kept = np.sort(kept[np.argsort(-total[kept], kind="stable")[: self.max_features]])
        return [terms[place] for place in kept], texts[kept]

    def _transform(self, texts: list[str]) -> Sparse:
        self.require_fitted()
        scorer: _Scorer | None = self.__dict__.get("_scorer")
        if scorer is None or scorer.source is not self.word_idf_:
            scorer = self._scorer = _Scorer(self)
        rows = [scorer.row(text) for text in texts]
        indptr = np.array([0, *accumulate([len(columns) for columns, _ in rows])], dtype=np.int64)
        if len(rows) == 1:
            return Sparse(indptr, *rows[0], scorer.columns)
        columns = np.concatenate([_NO_COLUMNS, *(columns for columns, _ in rows)])
        return Sparse(indptr, columns, np.concatenate([_NOTHING, *(values for _, values in rows)]), scorer.columns)


class _Scorer:
    """Look-up tables built from the learned arrays, with a bounded memory of the parts that texts are made of.

    A column is kept as the four bytes of its int32: a row's columns come together fastest by joining bytes.
    """

    def __init__(self, signal: Tfidf) -> None:
        self.source = signal.word_idf_
        self.word_span, self.char_span = signal.words, signal.chars
        words, chars = _split(signal.word_terms_), _split(signal.char_terms_)
        packed = [column.tobytes() for column in np.arange(len(words) + len(chars), dtype=np.int32)]
        self.word_columns = {tuple(term.split(" ")): column for term, column in zip(words, packed, strict=False)}
        self.char_columns = dict(zip(chars, packed[len(words) :], strict=True))
        self.idf = np.concatenate([signal.word_idf_, signal.char_idf_])
        self.columns, self.first_char = len(self.idf), np.int32(len(words))  # typed as the columns that it is sought in
        self.length = 0.5**0.5 if self.word_span[0] and self.char_span[0] else 1.0
        self.remembered: dict[str, Part] = {}

    def row(self, text: str) -> Row:
        """Sorted columns and their values."""
        packed = bytearray().join([_BELOW, *self._found(text.lower()), _ABOVE])
        found = np.frombuffer(packed, dtype=np.int32)
        found.sort()
        last = (found[1:] != found[:-1]).nonzero()[0]  # where each column ends, the one below all at 0
        columns = found.take(last[1:])
        values = _DAMPED.take(last[1:] - last[:-1])
        values *= self.idf.take(columns)
        cut = columns.searchsorted(self.first_char)
        for block in (values[:cut], values[cut:]):
            if len(block):
                np.multiply(block, self.length / math.sqrt(block @ block), out=block)
        return columns, values

    def _found(self, text: str) -> list[bytes]:
        """Columns of the known n-grams of a lower-case text, repeated as often as they occur."""
        get, column_of = self.remembered.get, self.word_columns.get
        columns: list[bytes] = []
        words: list[str] = []
        for unit in _units(text):
            found, within = get(unit) or self._cut(unit)
            columns.append(found)
            words += within
        for n in range(max(self.word_span[0], 2), self.word_span[1] + 1):
            columns += filter(None, map(column_of, zip(*[words[start:] for start in range(n)], strict=False)))
        return columns

    def _cut(self, unit: str) -> Part:
        """A unit's columns, those of single words included, and its words."""
        words, word_column, char_column = _words(unit), self.word_columns.get, self.char_columns.get
        single = [word_column((word,), b"") for word in words] if self.word_span[0] == 1 else []
        chars = filter(None, map(char_column, _char_grams(unit, self.char_span))) if self.char_span[0] else ()
        part = b"".join([*single, *chars]), words
        if len(self.remembered) >= _CACHED_UNITS:
            self.remembered.clear()
        if len(unit) <= _REMEMBERED_LENGTH:
            self.remembered[unit] = part
        return part


def _whole(text: str) -> list[str]:
    return [text]


def _units(text: str) -> list[str]:
    return text.split()


def _words(text: str) -> list[str]:
    """The words of two and more letters; of what is written without spaces every letter.

    >>> _words("a list of 今日の天気")
    ['list', 'of', '今', '日', 'の', '天', '気']
    """
    return (_ASCII_WORDS if text.isascii() else _ANY_WORDS)(text)


def _word_grams(text: str, span: Span) -> list[str]:
    """N-grams of the words.

    >>> _word_grams("sort a long list", (1, 2))
    ['sort', 'long', 'list', 'sort long', 'long list']
    """
    words = _words(text)
    grams = words if span[0] == 1 else []
    for n in range(max(span[0], 2), span[1] + 1):
        grams = grams + list(map(" ".join, zip(*(words[start:] for start in range(n)), strict=False)))
    return grams


def _char_grams(word: str, span: Span) -> list[str]:
    """N-grams of a word with a space before and after; a shorter word is one n-gram, once.

    >>> _char_grams("to", (3, 5))
    [' to', 'to ', ' to ']
    """
    padded = f" {word} "
    return list(map(padded.__getitem__, _slices(len(padded), *span)))


@lru_cache(maxsize=64)
def _slices(length: int, shortest: int, longest: int) -> tuple[slice, ...]:
    """Where the n-grams of a text of this length lie."""
    found: list[slice] = []
    for n in range(shortest, longest + 1):
        found += [slice(start, start + n) for start in range(max(length - n, 0) + 1)]
        if length <= n:
            break
    return tuple(found)


def _split(terms: NDArray[np.uint8]) -> list[str]:
    return terms.tobytes().decode("utf-8", "surrogatepass").split("\n") if len(terms) else []
