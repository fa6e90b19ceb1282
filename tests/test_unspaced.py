"""Every Chinese and Japanese letter is among those that no space parts, and no mark or letter of another script."""

from __future__ import annotations

import re
import unicodedata

from turnout.unspaced import UNSPACED

LETTERS = (
    "CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA LETTER", "KATAKANA LETTER",
    "HALFWIDTH KATAKANA LETTER",
)  # fmt: skip
MARKS = ("ITERATION MARK", "PROLONGED SOUND MARK", "DIGRAPH", "IDEOGRAPHIC NUMBER ZERO")
IN_USE = [*range(0x1AFF0), *range(0x1B170, 0x31350)]  # without kana that nobody writes, and what came after Unicode 14


def test_letters_of_both_languages_and_no_others() -> None:
    found = re.compile(f"[{UNSPACED}]").match
    for point in IN_USE:
        name = unicodedata.name(chr(point), "nothing")
        if name.startswith(LETTERS):
            assert found(chr(point)), name
        elif found(chr(point)):
            assert any(mark in name for mark in MARKS), (hex(point), name)
            assert chr(point).isalnum(), name
