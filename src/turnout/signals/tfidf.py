"""Word and character n-grams, weighted by how rare they are; learned with scikit-learn, scored in numpy.

>>> rows = Tfidf(min_df=1).fit(["sort a list", "sort an array", "who painted it"]).transform(["sort it"])
>>> rows.shape[0], round(float((rows.data**2).sum()), 6)
(1, 1.0)
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from turnout.base import Number, Of, Rule
from turnout.errors import ParameterError
from turnout.features import Sparse
from turnout.signals.base import Signal

__all__ = ["Tfidf"]

_CACHED_WORDS = 20_000
_WORDS = re.compile(r"\b\w\w+\b").findall  # scikit-learn's default token pattern
_SPACES = re.compile(r"\s\s+")
_NONE = np.empty(0, dtype=np.int32)


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
        words: tuple[int, int] = (1, 2),
        chars: tuple[int, int] = (3, 5),
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
        self.word_terms_, self.word_idf_ = self._learn(texts, "word", self.words)
        self.char_terms_, self.char_idf_ = self._learn(texts, "char_wb", self.chars)

    def _learn(self, texts: list[str], analyzer: str, span: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Terms, joined by newlines as UTF-8 bytes (no n-gram holds a newline), and their inverse frequencies."""
        if tuple(span) == (0, 0):
            return np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.float32)
        from sklearn.feature_extraction.text import TfidfVectorizer

        made = TfidfVectorizer(
            analyzer=analyzer,
            ngram_range=tuple(span),
            max_features=self.max_features,
            min_df=min(self.min_df, len(texts)),
        )
        try:
            made.fit(texts)
        except ValueError:  # scikit-learn's word for: no term is left
            return np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.float32)
        terms = "\n".join(made.get_feature_names_out().tolist()).encode("utf-8", "surrogatepass")
        return np.frombuffer(terms, dtype=np.uint8), made.idf_.astype(np.float32)

    def _transform(self, texts: list[str]) -> Sparse:
        self.require_fitted()
        scorer = self.__dict__.get("_scorer")
        if scorer is None or scorer.source is not self.word_terms_:
            scorer = self._scorer = _Scorer(self)
        rows = [scorer.row(text) for text in texts]
        indptr = np.cumsum([0, *(len(indices) for indices, _ in rows)], dtype=np.int64)
        indices = np.concatenate([_NONE, *(indices for indices, _ in rows)])
        data = np.concatenate([np.empty(0, dtype=np.float32), *(values for _, values in rows)])
        return Sparse(indptr, indices, data, scorer.columns)


class _Scorer:
    """Look-up tables built from the learned arrays, with a bounded memory of words' character n-grams."""

    def __init__(self, signal: Tfidf) -> None:
        self.source = signal.word_terms_
        self.word_span, self.char_span = signal.words, signal.chars
        words, chars = _split(signal.word_terms_), _split(signal.char_terms_)
        self.word_ids = {term: column for column, term in enumerate(words)}
        self.char_ids = {term: column for column, term in enumerate(chars, start=len(words))}
        self.idf = np.concatenate([signal.word_idf_, signal.char_idf_]).astype(np.float32)
        self.columns = len(self.idf)
        both = self.word_span[0] > 0 and self.char_span[0] > 0
        self.length = np.float32(0.5**0.5 if both else 1.0)
        self.remembered: dict[str, NDArray[np.int32]] = {}

    def row(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Sorted columns and their values."""
        lower = text.lower()
        blocks = [self._weigh(found) for found in (self._words(lower), self._chars(lower)) if len(found)]
        if len(blocks) == 1:
            return blocks[0]
        if not blocks:
            return _NONE, np.empty(0, dtype=np.float32)
        return np.concatenate([blocks[0][0], blocks[1][0]]), np.concatenate([blocks[0][1], blocks[1][1]])

    def _weigh(self, found: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        found.sort()
        starts = np.concatenate([[0], np.flatnonzero(found[1:] != found[:-1]) + 1])
        counts = np.diff(np.append(starts, len(found)))
        columns = found[starts]
        values = (1.0 + np.log(counts)).astype(np.float32) * self.idf[columns]
        return columns, values * (self.length / np.sqrt(values @ values))

    def _words(self, text: str) -> NDArray[np.int32]:
        low, high = self.word_span
        if not low or not self.word_ids:
            return _NONE
        words, ids = _WORDS(text), self.word_ids
        found = [ids[word] for word in words if word in ids] if low == 1 else []
        for n in range(max(low, 2), high + 1):
            grams = map(" ".join, zip(*(words[start:] for start in range(n)), strict=False))
            found += [ids[gram] for gram in grams if gram in ids]
        return np.array(found, dtype=np.int32)

    def _chars(self, text: str) -> NDArray[np.int32]:
        if not self.char_span[0] or not self.char_ids:
            return _NONE
        remembered = self.remembered
        parts = [_NONE]
        for word in _SPACES.sub(" ", text).split():
            columns = remembered.get(word)
            if columns is None:
                columns = self._word_chars(word)
                if len(remembered) >= _CACHED_WORDS:
                    remembered.clear()
                remembered[word] = columns
            parts.append(columns)
        return np.concatenate(parts)

    def _word_chars(self, word: str) -> NDArray[np.int32]:
        padded, ids = f" {word} ", self.char_ids
        low, high = self.char_span
        found: list[int] = []
        for n in range(low, high + 1):
            grams = [padded[start : start + n] for start in range(max(len(padded) - n, 0) + 1)]
            found += [ids[gram] for gram in grams if gram in ids]
            if len(padded) <= n:  # a word shorter than n is counted once, as scikit-learn does
                break
        return np.array(found, dtype=np.int32)


def _split(terms: NDArray[np.uint8]) -> list[str]:
    return terms.tobytes().decode("utf-8", "surrogatepass").split("\n") if len(terms) else []
