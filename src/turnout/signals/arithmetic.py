"""The makings of a word problem: numbers and their sizes, sentences, names, and the words that stand for operations.

>>> row = Arithmetic().transform(["Ann has 3 apples and buys twice as many. How many apples has she in total?"])[0]
>>> seen = dict(zip(COLUMNS, row.tolist()))
>>> seen["multiply"] > 0, seen["decimals"] > 0
(True, False)
"""

from __future__ import annotations

import math
import re

import numpy as np

from turnout.features import Floats
from turnout.signals._letters import letters
from turnout.signals.base import Signal

__all__ = ["Arithmetic"]

# The usual value and spread of each log count in word problems, so that all columns weigh about the same.
_COUNTED = {
    "characters": (5.4, 0.6),
    "words": (3.8, 0.6),
    "sentences": (1.5, 0.4),
    "numbers": (1.5, 0.5),
    "distinct_numbers": (1.3, 0.5),
    "largest": (3.5, 1.5),
    "decimals": (0.2, 0.4),
    "percent": (0.1, 0.3),
    "dollars": (0.3, 0.5),
    "fractions": (0.2, 0.4),
    "hundreds": (0.4, 0.5),
    "small": (0.2, 0.4),
    "names": (0.9, 0.5),
    "asked_words": (2.2, 0.5),
    "asked_numbers": (0.1, 0.3),
    "distinct_words": (3.5, 0.5),
    "commas": (1.0, 0.6),
    "sentence_length": (0.8, 0.3),
}
_WORDS = {
    "number_words": (
        0.3,
        0.4,
        "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty "
        "hundred thousand million third quarter dozen",
    ),
    "add": (
        0.6,
        0.5,
        "more total altogether sum combined additional extra plus increase increases increased both "
        "together all overall",
    ),
    "subtract": (
        0.3,
        0.5,
        "less fewer left remaining remain remains lost loses difference gave gives minus decrease "
        "decreased spent spends away",
    ),
    "multiply": (0.6, 0.5, "times twice double triple each per every product"),
    "divide": (0.2, 0.4, "half divide divided split share average evenly equally ratio fraction"),
    "shares": (0.1, 0.3, "percent percentage discount interest tax tip profit"),
    "clock": (0.4, 0.6, "hour hours minute minutes day days week weeks month months year years daily weekly"),
    "money": (0.4, 0.6, "cost costs price dollar dollars cents pay paid earns sells buys sell buy"),
    "turns": (0.6, 0.5, "if then after before when while until than instead since because but"),
    "ages": (0.1, 0.3, "old age older younger ago"),
    "measures": (0.1, 0.3, "miles feet inches pounds ounces gallons meters km speed mph kg liters"),
}
_COLUMN = {word: column for column, (_, _, words) in enumerate(_WORDS.values()) for word in words.split()}
COLUMNS = (*_COUNTED, *_WORDS)
_MIDDLE, _SPREAD = np.array(
    [*_COUNTED.values(), *((middle, spread) for middle, spread, _ in _WORDS.values())], dtype=np.float32
).T
_LOWEST, _HIGHEST = np.float32(-5.0), np.float32(8.0)
_NUMBERS = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?").findall
# Every pattern begins with the characters that it is looked up by: a scan skips the others several times faster.
_SENTENCES = re.compile(r"[.!?]\s+").split
_CAPITALISED = re.compile(r"[A-Z](?<![A-Za-z][A-Z])[A-Za-z]+").findall
_OPENERS = re.compile(r"[.!?]\s[^A-Za-z]*([A-Z][A-Za-z]+)").findall
_DIGITS = 15  # of a number; what is longer is no quantity


class Arithmetic(Signal):
    """How much there is to work out: shape (N, 29), float32, about −3 to 5; `COLUMNS` names the columns.

    Log counts on fixed scales, so values logged by one router mean the same to the next. Limits: the words are
    English; a text that is no problem with numbers is told by its lengths alone.
    """

    def _transform(self, texts: list[str]) -> Floats:
        out_ND = np.array([_row(text) for text in texts], dtype=np.float32).reshape(len(texts), len(COLUMNS))
        out_ND -= _MIDDLE
        out_ND /= _SPREAD
        np.maximum(out_ND, _LOWEST, out=out_ND)
        return np.minimum(out_ND, _HIGHEST, out=out_ND)


def _row(text: str) -> list[float]:
    *before, asked = _SENTENCES(text)
    sentences = len(before) + bool(asked)
    if before and not asked:
        asked = before[-1]
    numbers = _NUMBERS(text)
    sizes = [float(number.replace(",", "")) for number in numbers if len(number) <= _DIGITS]
    words = letters(text.lower())
    counts = [0] * len(_WORDS)
    for column in map(_COLUMN.get, words):
        if column is not None:
            counts[column] += 1
    log1p = math.log1p
    counted = [
        len(text), len(words), sentences, len(numbers), len(set(numbers)), max(sizes, default=0.0),
        sum(["." in number for number in numbers]), text.count("%"), text.count("$"), text.count("/"),
        sum([size >= 100 for size in sizes]), sum([size <= 1 for size in sizes]), _names(text),
        len(letters(asked)), len(_NUMBERS(asked)), len(set(words)), text.count(","),
    ]  # fmt: skip
    length = len(words) / max(sentences, 1) / 20.0
    return [*map(log1p, counted), length, *map(log1p, counts)]


def _names(text: str) -> int:
    """Distinct capitalised words that do not open a sentence."""
    found: list[str] = _CAPITALISED(text)
    for opener in _OPENERS(". " + text):
        found.remove(opener)
    return len(set(found))
