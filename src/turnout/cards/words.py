"""Text to search words: lower case, names like `getWeather` or `stock_price` cut apart, plurals folded.

Chinese and Japanese, which no space parts, are cut into pairs of neighbouring letters, as in Lucene's CJKAnalyzer.
"""

from __future__ import annotations

import re
from itertools import chain

from turnout.unspaced import UNSPACED

_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORDS = re.compile(r"[^\W_]+").findall
_RUNS = re.compile(rf"[^\W_{UNSPACED}]+|[{UNSPACED}]+").findall
_UNSPACED = re.compile(f"[{UNSPACED}]").match


def words(text: str) -> list[str]:
    """The words of a text in order; an English plural `s` is dropped (Harman's s-stemmer, 1991).

    >>> words("getWeather: stock_prices for all cities, 2 buses!")
    ['get', 'weather', 'stock', 'price', 'for', 'all', 'city', '2', 'bus']
    >>> words("今日の天気 in Tokyo")
    ['今日', '日の', 'の天', '天気', 'in', 'tokyo']
    """
    if not text.islower():
        text = _HUMPS.sub(" ", text).lower()
    found = _WORDS(text) if text.isascii() else chain.from_iterable(map(_pairs, _RUNS(text)))
    return [_singular(word) if word[-1] == "s" else word for word in found]


def _pairs(run: str) -> list[str]:
    """A word as it is; of letters that no space parts each neighbouring two, a single one alone."""
    if not _UNSPACED(run):
        return [run]
    return [run[start : start + 2] for start in range(max(len(run) - 1, 1))]


def _singular(word: str) -> str:
    if len(word) < 4 or word.endswith(("us", "ss")):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith(("xes", "ches", "shes", "sses", "uses")):
        return word[:-2]
    return word[:-1]
