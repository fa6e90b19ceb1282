"""A signal averaged over views of a text that mean the same, so that a decision does not hang on its wording.

>>> plain = ["What is 2+2?", "Please: what is   2+2 ?  Thanks!"]
>>> from turnout.signals.length import Length
>>> first, second = Smoothed(Length(), views=("canonical",)).fit(plain).transform(plain)
>>> bool((first == second).all())
True
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from turnout.base import Of, Rule
from turnout.errors import ParameterError
from turnout.features import Features, Sparse
from turnout.signals.base import Signal
from turnout.signals.embedding import Embedding

__all__ = ["Smoothed"]

ENDS = 1000  # characters that a signal reads of either end of a long text
_THIRDS = 3

_POLITE = re.compile(
    r"\b(?:(?:could|can|would|will) you (?:please |kindly )?(?:help me with (?:this|the following)|tell me|answer)?"
    r"|i would (?:be grateful|appreciate)[^.!?\n]*|i have a question|help me with this"
    r"|please|kindly|thank you(?: (?:very|so) much| in advance)?|thanks(?: in advance| a lot)?"
    r"|hello(?: there)?|hi there"
    r"|you are an? (?:helpful|expert|honest)[^.!?\n]*assistant"
    r"|(?:answer|respond to|consider|read)(?: carefully)? (?:to )?(?:the|this) (?:following )?"
    r"(?:question|task|problem|request)(?: (?:carefully|below))*)\b[ ,.!:]*"
)
_LABEL = re.compile(r"^\W*(?:question|q|query|task|problem|instruction|input|user|prompt)\s*:\s*")
_END_LABEL = re.compile(r"\s*(?:answer|a|response|output|assistant|solution)\s*:\s*$")
_MARKUP = re.compile(r"[*_#`>~]{2,}|^[#>]+ ", re.MULTILINE)
_OPTION = re.compile(r"^\s*[(\[]?([A-Ha-h])[.):\]]\s+(\S.*)$")


class Smoothed(Signal):
    """The mean of the signal `of` over `views` of each text.

    `plain` is the text as it is. `canonical` lowers case, folds white space and markup, leaves out courtesies and
    labels around the question, and sorts the options of a multiple choice by their words. `thinned` stands for three
    views of the canonical text, each without the third of its words that a hash picks (randomised smoothing: Cohen et
    al., ICML 2019, here with fixed masks, so that a decision stays a pure function of the text).

    Limits: what is folded away can tell experts apart (capitals, code, a polite tone), so that quality may fall;
    courtesies are recognised in English alone; the time is that of `of`, times the views.
    """

    rules: ClassVar[dict[str, Rule]] = {"of": Of((Signal,)), "views": Of((tuple, list))}

    def __init__(self, of: Signal = Embedding(), views: tuple[str, ...] = ("canonical",)) -> None:
        self.of, self.views = of, views

    def check(self) -> None:
        """Raise ParameterError for no view, or one that is not known."""
        super().check()
        self.of.check()
        if not self.views or not set(self.views) <= set(VIEWS):
            raise ParameterError(f"Smoothed: `views` must be some of {', '.join(VIEWS)}, got {self.views!r}")

    def fit(self, texts: Sequence[str]) -> Smoothed:
        """Learn a copy of the inner signal from all views of the texts."""
        self.check()
        self.of_ = self.of.clone().fit([view(text) for name in self.views for view in VIEWS[name] for text in texts])
        return self

    @classmethod
    def around(cls, fitted: Signal, views: tuple[str, ...] = ("canonical",)) -> Smoothed:
        """A fitted signal, asked about several views from now on; nothing is learned again."""
        made = cls(fitted.clone(), views)
        made.check()
        made.of_ = fitted
        return made

    def is_slow(self, text: str) -> bool:
        return super().is_slow(text) or self.of.is_slow(text)

    def transform(self, texts: Sequence[str]) -> Features:
        self.require_fitted()
        blocks = [self.of_.transform([view(text) for text in texts]) for name in self.views for view in VIEWS[name]]
        sparse = [block for block in blocks if isinstance(block, Sparse)]
        if sparse:
            return _mean_sparse(sparse)
        dense = [block for block in blocks if not isinstance(block, Sparse)]
        return np.asarray(np.mean(np.stack(dense), axis=0, dtype=np.float32))


def canonical(text: str) -> str:
    """One spelling for texts that ask the same; the middle of a long text is blank, for no signal reads it.

    >>> canonical("Please answer the following question:\\n\\nQuestion: WHO   wrote it?\\nB. Homer\\nA. Ovid\\nAnswer:")
    'who wrote it?\\na. homer\\nb. ovid'
    """
    if len(text) <= 2 * ENDS:
        return _fold(text)
    head, tail = _fold(text[:ENDS])[:ENDS], _fold(text[-ENDS:])[-ENDS:]
    return head + " " * (len(text) - len(head) - len(tail)) + tail


def _fold(text: str) -> str:
    found = _MARKUP.sub("", unicodedata.normalize("NFKC", text).lower())
    found = _POLITE.sub("", found)
    lines = (" ".join(line.split()) for line in found.splitlines())
    found = "\n".join(_sorted_options([line for line in lines if line]))
    found = _END_LABEL.sub("", _LABEL.sub("", found)).strip()
    return re.sub(r"\s+([?.!,;:])", r"\1", found)


def _sorted_options(lines: list[str]) -> list[str]:
    """Lines with every run of two or more labelled options in the order of their words, labelled anew."""
    found: list[str] = []
    run: list[str] = []
    for line in [*lines, ""]:
        option = _OPTION.match(line)
        if option:
            run.append(option[2])
            continue
        found += [f"{chr(ord('a') + i)}. {words}" for i, words in enumerate(sorted(run))]
        run = []
        if line:
            found.append(line)
    return found


def _thin(mask: int) -> Callable[[str], str]:
    def thinned(text: str) -> str:
        """The canonical text without a third of its words."""
        words = re.split(r"(\s+)", canonical(text))
        return "".join(w for w in words if not w.strip() or zlib.crc32(w.encode("utf-8", "replace")) % _THIRDS != mask)

    return thinned


def _plain(text: str) -> str:
    return text


VIEWS: dict[str, tuple[Callable[[str], str], ...]] = {
    "plain": (_plain,),
    "canonical": (canonical,),
    "thinned": tuple(_thin(mask) for mask in range(_THIRDS)),
}


def _mean_sparse(blocks: Sequence[Sparse]) -> Sparse:
    """The mean row by row, a column stored once."""
    rows = np.concatenate([np.repeat(np.arange(len(b)), np.diff(b.indptr)) for b in blocks])
    columns = np.concatenate([b.indices for b in blocks]).astype(np.int64)
    key, place = np.unique(rows * blocks[0].columns + columns, return_inverse=True)
    data = np.bincount(place, weights=np.concatenate([b.data for b in blocks]), minlength=len(key)) / len(blocks)
    row_of, column_of = np.divmod(key, blocks[0].columns)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=len(blocks[0])))]).astype(np.int64)
    return Sparse(indptr, column_of.astype(np.int32), data.astype(np.float32), blocks[0].columns)
