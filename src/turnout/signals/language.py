"""Which scripts a text is written in, and a hint of its language from common words.

>>> row = Language().transform(["Wie ist das Wetter in der Stadt?"])[0]
>>> max(zip(row[11:].tolist(), COLUMNS[11:]))[1]
'de'
"""

from __future__ import annotations

import re

import numpy as np

from turnout.features import Floats
from turnout.signals.base import Signal

__all__ = ["Language"]

# First code point of each run and the script that starts there; "" is no letter of a counted script.
_RUNS = (
    (0x0000, ""), (0x0041, "latin"), (0x005B, ""), (0x0061, "latin"), (0x007B, ""), (0x00C0, "latin"),
    (0x0250, ""), (0x0370, "greek"), (0x0400, "cyrillic"), (0x0530, "other"), (0x0590, "hebrew"),
    (0x0600, "arabic"), (0x0700, "other"), (0x0750, "arabic"), (0x0780, "other"), (0x0900, "indic"),
    (0x0E00, "thai"), (0x0E80, "other"), (0x1100, "hangul"), (0x1200, "other"), (0x1E00, "latin"),
    (0x1F00, "greek"), (0x2000, ""), (0x3040, "kana"), (0x3100, ""), (0x3130, "hangul"), (0x3190, ""),
    (0x3400, "han"), (0x4DC0, ""), (0x4E00, "han"), (0xA000, "other"), (0xAC00, "hangul"), (0xD7B0, ""),
    (0xF900, "han"), (0xFB00, ""), (0xFB50, "arabic"), (0xFE00, ""), (0xFE70, "arabic"), (0xFF00, ""),
    (0xFF66, "kana"), (0xFFA0, ""), (0x20000, "han"), (0x323B0, ""),
)  # fmt: skip
SCRIPTS = (
    "latin", "greek", "cyrillic", "hebrew", "arabic", "indic", "thai", "hangul", "kana", "han", "other",
)  # fmt: skip
_STOP_WORDS = {
    "en": "the of and to is in that it you for was are with what how this which from have",
    "de": "der die das und ist nicht ein eine zu den von mit sich auf für wie ich dem was des",
    "fr": "le la les des et est un une que qui dans pour pas sur du ce il je vous avec",
    "es": "el los las y es un una que en por con para del como qué se no lo su más",
    "pt": "o os as e é um uma que em por com para do da não como se mais na no",
    "it": "il lo gli e è un una che di per con del della non sono come si nel i più",
    "nl": "de het een en van is niet dat op te voor met zijn wat hoe ik aan er om je",
}
COLUMNS = SCRIPTS + tuple(_STOP_WORDS)

_STARTS = np.array([start for start, _ in _RUNS], dtype=np.uint32)
_SCRIPT_OF_RUN = np.array([SCRIPTS.index(script) if script else len(SCRIPTS) for _, script in _RUNS])
_LANGUAGES_OF: dict[str, tuple[int, ...]] = {
    word: tuple(column for column, words in enumerate(_STOP_WORDS.values()) if word in words.split())
    for listed in _STOP_WORDS.values()
    for word in listed.split()
}
_WORDS = re.compile(r"\w+").findall


class Language(Signal):
    """Shares in [0, 1], float32, of shape (N, 18): 11 scripts among the letters, and among the words
    the common words of 7 languages.

    Nothing is learned. Limits: a hint, not a language identifier; short texts hold few common words, and languages
    of one script without a list of words are not told apart.
    """

    def _transform(self, texts: list[str]) -> Floats:
        out_ND = np.zeros((len(texts), len(COLUMNS)), dtype=np.float32)
        for row, text in enumerate(texts):
            out_ND[row, : len(SCRIPTS)] = _script_shares(text)
            out_ND[row, len(SCRIPTS) :] = _language_shares(text)
        return out_ND


def _script_shares(text: str) -> Floats:
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    runs = np.searchsorted(_STARTS, points, side="right") - 1
    counts = np.bincount(_SCRIPT_OF_RUN[runs], minlength=len(SCRIPTS) + 1)[:-1]
    return counts / max(int(counts.sum()), 1)


def _language_shares(text: str) -> list[float]:
    found = _WORDS(text.lower())
    counts = [0] * len(_STOP_WORDS)
    for word in found:
        for column in _LANGUAGES_OF.get(word, ()):
            counts[column] += 1
    return [count / max(len(found), 1) for count in counts]
