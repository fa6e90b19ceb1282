"""Word and character n-grams, weighted by how rare they are.

>>> rows = Tfidf(min_df=1).fit(["sort a list", "sort an array", "who painted it"]).transform(["sort it"])
>>> rows.shape[0], round(float((rows.data**2).sum()), 6)
(1, 1.0)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.errors import ParameterError
from turnout.features import Sparse
from turnout.signals.base import Signal

__all__ = ["Tfidf"]

_CACHED_WORDS = 20_000
_REMEMBERED_LENGTH = 60  # characters
_WORDS = re.compile(r"\b\w\w+\b").findall  # scikit-learn's default token pattern
_NONE = np.empty(0, dtype=np.int32)
_NOTHING = np.empty(0, dtype=np.float32)

Span: TypeAlias = tuple[int, int]
Row: TypeAlias = tuple[NDArray[np.int32], NDArray[np.float32]]


class Tfidf(Signal):
    """Sparse rows of shape (N, D) and unit length: a block of word n-grams, then a block of character n-grams.

    `words` and `chars` are (shortest, longest) n-grams, (0, 0) for none; characters are taken inside words, padded
    with a space. Each block keeps its `max_features` most frequent n-grams found in at least `min_df` texts, counts
    as 1 + ln(count), and has unit length; with both blocks each is scaled by 1/√2. A text without any known n-gram
    gives an empty row.

    Source: Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988; values equal those of
    scikit-learn's `TfidfVectorizer(sublinear_tf=True)` with analyzers `word` and `char_wb`.
    Limits: n-grams not seen in `fit` are ignored; in languages without spaces only the characters tell anything.
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
        indptr = np.cumsum([0, *(len(columns) for columns, _ in rows)], dtype=np.int64)
        if len(rows) == 1:
            return Sparse(indptr, *rows[0], scorer.columns)
        columns = np.concatenate([_NONE, *(columns for columns, _ in rows)])
        return Sparse(indptr, columns, np.concatenate([_NOTHING, *(values for _, values in rows)]), scorer.columns)


class _Scorer:
    """Look-up tables built from the learned arrays, with a bounded memory of the character n-grams of words."""

    def __init__(self, signal: Tfidf) -> None:
        self.source = signal.word_idf_
        self.word_span, self.char_span = signal.words, signal.chars
        words, chars = _split(signal.word_terms_), _split(signal.char_terms_)
        self.word_ids = {term: column for column, term in enumerate(words)}
        self.char_ids = {term: column for column, term in enumerate(chars, start=len(words))}
        self.idf = np.concatenate([signal.word_idf_, signal.char_idf_])
        self.columns = len(self.idf)
        self.length = np.float32(0.5**0.5 if self.word_span[0] and self.char_span[0] else 1.0)
        self.remembered: dict[str, NDArray[np.int32]] = {}

    def row(self, text: str) -> Row:
        """Sorted columns and their values."""
        lower = text.lower()
        words, chars = self._weigh(self._words(lower)), self._weigh(self._chars(lower))
        if not len(words[0]) or not len(chars[0]):
            return words if len(words[0]) else chars
        return np.concatenate([words[0], chars[0]]), np.concatenate([words[1], chars[1]])

    def _weigh(self, found: NDArray[np.int32]) -> Row:
        if not len(found):
            return _NONE, _NOTHING
        found.sort()
        starts = np.flatnonzero(np.concatenate([[True], found[1:] != found[:-1], [True]]))
        columns = found[starts[:-1]]
        values = (1.0 + np.log(np.diff(starts), dtype=np.float32)) * self.idf[columns]
        values *= self.length / np.sqrt(values @ values)
        return columns, values

    def _words(self, text: str) -> NDArray[np.int32]:
        if not self.word_ids:
            return _NONE
        ids = self.word_ids
        return np.array([ids[gram] for gram in _word_grams(text, self.word_span) if gram in ids], dtype=np.int32)

    def _chars(self, text: str) -> NDArray[np.int32]:
        if not self.char_ids:
            return _NONE
        remembered = self.remembered
        parts = [_NONE]
        for word in _units(text):
            columns = remembered.get(word)
            if columns is None:
                ids = self.char_ids
                columns = np.array([ids[gram] for gram in _char_grams(word, self.char_span) if gram in ids], np.int32)
                if len(remembered) >= _CACHED_WORDS:
                    remembered.clear()
                if len(word) <= _REMEMBERED_LENGTH:
                    remembered[word] = columns
            parts.append(columns)
        return np.concatenate(parts)


def _whole(text: str) -> list[str]:
    return [text]


def _units(text: str) -> list[str]:
    return text.split()


def _word_grams(text: str, span: Span) -> list[str]:
    """N-grams of the words of two and more letters, as scikit-learn's default `token_pattern` finds them.

    >>> _word_grams("sort a long list", (1, 2))
    ['sort', 'long', 'list', 'sort long', 'long list']
    """
    words = _WORDS(text)
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
    grams: list[str] = []
    for n in range(span[0], span[1] + 1):
        grams += [padded[start : start + n] for start in range(max(len(padded) - n, 0) + 1)]
        if len(padded) <= n:
            break
    return grams


def _split(terms: NDArray[np.uint8]) -> list[str]:
    return terms.tobytes().decode("utf-8", "surrogatepass").split("\n") if len(terms) else []
