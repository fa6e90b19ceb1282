"""The look of a text: digits, code, choices, marks of mathematics, the words that ask for something.

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
from turnout.signals._letters import letters
from turnout.signals.base import Signal

__all__ = ["Format"]

# Shares of all bytes, by class of byte, times a factor that brings usual values to about 0–1.
_BYTES = {
    "digits": (b"0123456789", 5.0),
    "capitals": (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 5.0),
    "spaces": (b" \t\n\r", 4.0),
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
# How often any of these occurs, on the scale log1p(count) / 2; each holds one of the characters of `_KEYS`.
_COUNTED = {
    "lines": ("\n",),
    "blank_lines": ("\n\n",),
    "questions": ("?",),
    "bullets": ("\n- ", "\n* ", "\n• ", "\n1.", "\n2.", "\n3.", "\n1)", "\n2)"),
    "blanks": ("___", "[MASK]"),
    "latex": ("\\frac", "\\begin", "\\sqrt", "\\text", "\\(", "\\[", "$$"),
    "tags": ("</", "/>"),
    "shots": ("Q:", "A:", "Question:", "Answer:", "Input:", "Output:", "###"),
}
_KEYS = {
    "lines": "\n", "blank_lines": "\n", "questions": "?", "bullets": "\n", "blanks": "_[", "latex": "\\$", "tags": "/",
    "shots": ":#",
}  # fmt: skip
_SOUGHT = tuple((frozenset(_KEYS[name].encode()), marks) for name, marks in _COUNTED.items())
_ALL_KEYS = "".join(_KEYS.values()).encode()
_NO_KEYS = bytes(byte for byte in range(256) if byte not in _ALL_KEYS)
_CHOICE = re.compile(r"(?:^|[\n(\[ ])([A-H])[.):\]](?=\s)").findall
# Whether any of these stands in the text.
_PRESENT = {
    "code_fence": ("```", "~~~"),
    "code": ("def ", "import ", "#include", "return ", "function(", "class ", "assert ", "SELECT ", "();", ">>> "),
    "json": ('{"', '{\n', "JSON", "json"),
    "steps": ("step by step", "step-by-step", "your reasoning", "your work"),
}  # fmt: skip
# Whether any of these is among the lower-case words.
_WORDS = {
    "write": "write implement create generate compose draft",
    "explain": "explain describe summarize summarise discuss compare",
    "solve": "solve calculate compute evaluate simplify prove find determine",
    "translate": "translate translation rewrite paraphrase",
    "program": "function python code program string list array returns sql javascript",
    "amount": "many much total per each percent percentage twice half times",
    "measure": "km miles hours minutes seconds days weeks years dollars cents meters feet pounds kg cm inches",
    "truth": "true false",
    "consent": "yes no",
    "choose": "following choose option options answer",
    "suppose": "if given let suppose assume",
    "person": "i me my we our",
    "past": "was were did had",
}
_WORD_SETS = tuple(frozenset(words.split()) for words in _WORDS.values())
_FIRST = ("what", "who", "when", "where", "which", "why", "how", "is", "if", "a", "the")
COLUMNS = (
    "characters", "word_length", "numbers", "choices", "ends_question", "ends_colon", "opens_lower",
    *_BYTES, *_COUNTED, *_PRESENT, *_WORDS, *(f"starts_{word}" for word in _FIRST),
)  # fmt: skip

_CLASS_OF = bytes(
    next((place for place, (members, _) in enumerate(_BYTES.values()) if byte in members), len(_BYTES))
    for byte in range(256)
)
_CLASSES = tuple((place, factor) for place, (_, factor) in enumerate(_BYTES.values()))
_DIGITS = bytes(byte if byte in b"0123456789" else 32 for byte in range(256))
_FIRST_ROWS = {opening: [float(opening == word) for word in _FIRST] for opening in (*_FIRST, "")}


class Format(Signal):
    """What a text looks like: shape (N, 55), float32, about −2 to 3; `COLUMNS` names the columns.

    The scales are fixed (shares, log counts, presence), so values logged by one router mean the same to the next.
    Limits: the patterns were written for English and for common programming languages.
    """

    def transform(self, texts: Sequence[str]) -> Floats:
        rows = [_row(text, clip(text)) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(COLUMNS))


def _row(whole: str, text: str) -> list[float]:
    words = letters(text.lower())
    present = set(words)
    raw = text.encode("utf-8", "surrogatepass")
    keys = set(raw.translate(None, _NO_KEYS))
    end = text.rstrip()[-1:]
    log1p = math.log1p
    return [
        (log1p(len(whole)) - 5.0) / 2.0,
        (sum(map(len, words)) / len(words) - 4.0) / 4.0 if words else 0.0,
        log1p(len(raw.translate(_DIGITS).split())) / 2.0,
        len(set(_CHOICE(text))) / 4.0 if "B." in text or "B)" in text or "B:" in text or "B]" in text else 0.0,
        float(end == "?"),
        float(end == ":"),
        float(text[:1].islower()),
        *_byte_shares(raw),
        *[0.0 if own.isdisjoint(keys) else log1p(sum(map(text.count, marks))) / 2.0 for own, marks in _SOUGHT],
        *[float(any(map(text.__contains__, marks))) for marks in _PRESENT.values()],
        *[0.0 if listed.isdisjoint(present) else 1.0 for listed in _WORD_SETS],
        *_FIRST_ROWS.get(words[0] if words else "", _FIRST_ROWS[""]),
    ]


def _byte_shares(raw: bytes) -> list[float]:
    classes, size = raw.translate(_CLASS_OF), max(len(raw), 1)
    present = set(classes)
    return [min(classes.count(place) * factor / size, 3.0) if place in present else 0.0 for place, factor in _CLASSES]
