"""Text to search words: lower case, names like `getWeather` or `stock_price` cut apart, plurals folded."""

from __future__ import annotations

import re

_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORDS = re.compile(r"[^\W_]+").findall


def words(text: str) -> list[str]:
    """The words of a text in order; an English plural `s` is dropped (Harman's s-stemmer, 1991).

    >>> words("getWeather: stock_prices for all cities, 2 buses!")
    ['get', 'weather', 'stock', 'price', 'for', 'all', 'city', '2', 'bus']
    """
    if not text.islower():
        text = _HUMPS.sub(" ", text).lower()
    return [_singular(word) if word[-1] == "s" else word for word in _WORDS(text)]


def _singular(word: str) -> str:
    if len(word) < 4 or word.endswith(("us", "ss")):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith(("xes", "ches", "shes", "sses", "uses")):
        return word[:-2]
    return word[:-1]
