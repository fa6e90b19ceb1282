"""The look of a text: digits, code, choices, marks of mathematics, the word a question starts with.

>>> row = Format().transform(["What is 2 + 2?\\nA. 3\\nB. 4"])[0]
>>> seen = dict(zip(COLUMNS, row.tolist()))
>>> seen["choices"] > 0, seen["starts_what"], seen["code_fence"]
(True, 1.0, 0.0)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from turnout.features import Floats, clip
from turnout.signals.base import Signal

__all__ = ["Format"]

# Shares of all bytes, by class of byte, times a factor that brings usual values to about 0–1.
_BYTE_CLASSES = {
    "digits": (b"0123456789", 5.0),
    "capitals": (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 5.0),
    "space": (b" \t\n\r", 4.0),
    "commas": (b",;:", 20.0),
    "stops": (b".!", 20.0),
    "brackets": (b"()[]{}", 15.0),
    "operators": (b"+-*/=<>^%|&~", 15.0),
    "quotes": (b"\"'`", 15.0),
    "underscores": (b"_", 30.0),
    "backslashes": (b"\\", 30.0),
    "dollars": (b"$", 30.0),
    "not_ascii": (bytes(range(128, 256)), 2.0),
}
# Counts, on the scale log1p(count) / 2.
_COUNTED = {
    "lines": re.compile(r"\n"),
    "blank_lines": re.compile(r"\n\s*\n"),
    "questions": re.compile(r"\?"),
    "numbers": re.compile(r"\d+(?:[.,]\d+)*"),
    "choices": re.compile(r"(?:^|\n|\s)\(?[A-J][).:](?=\s)"),
    "bullets": re.compile(r"(?:^|\n)\s*(?:[-*•]|\d{1,2}[.)])\s"),
    "blanks": re.compile(r"_{2,}|\[MASK\]|<blank>"),
    "calls": re.compile(r"\w\("),
    "latex": re.compile(r"\\[a-zA-Z]+"),
    "tags": re.compile(r"</?[a-zA-Z]\w*[^>\n]{0,80}>"),
    "shots": re.compile(r"(?:^|\n)\s*(?:Q|A|Question|Answer|Input|Output)\s*:"),
    "names": re.compile(r"(?<=[a-z,] )[A-Z][a-z]+"),
    "units": re.compile(r"\d\s?(?:%|km|kg|cm|mm|ml|hours?|minutes?|days?|years?|dollars?|cents?|miles?|times)\b"),
}
# Presence, 0 or 1.
_PRESENT = {
    "code_fence": re.compile(r"```|~~~"),
    "code": re.compile(
        r"\bdef \w+\(|\bfunction\b|\bimport \w|#include|\bclass \w+[:({]|\breturn\b.*[;)]|\bSELECT\b|assert "
    ),
    "write": re.compile(r"(?i)\b(?:write|implement|create|generate|compose|draft)\b"),
    "explain": re.compile(r"(?i)\b(?:explain|describe|summari[sz]e|discuss|compare)\b"),
    "solve": re.compile(r"(?i)\b(?:solve|calculate|compute|evaluate|simplify|prove|find|determine)\b"),
    "translate": re.compile(r"(?i)\b(?:translate|translation|rewrite|paraphrase)\b"),
    "how_many": re.compile(r"(?i)\bhow (?:many|much)\b"),
    "steps": re.compile(r"(?i)step[- ]by[- ]step|think carefully|show your work"),
    "true_false": re.compile(r"(?i)\btrue\b.*\bfalse\b|\byes\b.*\bno\b"),
    "json": re.compile(r"(?i)\bjson\b|\{\s*\""),
    "first_person": re.compile(r"\b(?:I|I'm|my|me|My)\b"),
    "ends_question": re.compile(r"\?\W*$"),
    "ends_colon": re.compile(r":\s*$"),
    "starts_lower": re.compile(r"^\s*[a-z]"),
}
_FIRST_WORDS = ("what", "who", "when", "where", "which", "why", "how", "is", "if", "given", "a")
COLUMNS = (
    "characters", "word_length", *_BYTE_CLASSES, *_COUNTED, *_PRESENT, *(f"starts_{word}" for word in _FIRST_WORDS),
)  # fmt: skip

_CLASS_BC = np.array(
    [[factor * (byte in members) for members, factor in _BYTE_CLASSES.values()] for byte in range(256)],
    dtype=np.float32,
)
_FIRST_WORD = re.compile(r"[A-Za-z]+")


class Format(Signal):
    """What a text looks like: shape (N, 52), float32, about −2 to 3; `COLUMNS` names the columns.

    The scales are fixed (shares, log counts, presence), so values logged by one router mean the same to the next.
    Limits: the patterns were written for English and for common programming languages.
    """

    def transform(self, texts: Sequence[str]) -> Floats:
        rows = [_row(text) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(COLUMNS))


def _row(text: str) -> list[float]:
    read = clip(text)
    raw = read.encode("utf-8", "surrogatepass")
    histogram_B = np.bincount(np.frombuffer(raw, dtype=np.uint8), minlength=256).astype(np.float32)
    shares_C = histogram_B @ _CLASS_BC / max(len(raw), 1)
    words = read.split()
    first = _FIRST_WORD.search(read)
    opening = first.group().lower() if first else ""
    return [
        (math.log1p(len(text)) - 5.0) / 2.0,
        (len(read) / len(words) - 5.5) / 4.0 if words and len(read) < 40 * len(words) else 0.0,
        *np.minimum(shares_C, 3.0).tolist(),
        *(math.log1p(len(pattern.findall(read))) / 2.0 for pattern in _COUNTED.values()),
        *(1.0 if pattern.search(read) else 0.0 for pattern in _PRESENT.values()),
        *(1.0 if opening == word else 0.0 for word in _FIRST_WORDS),
    ]
