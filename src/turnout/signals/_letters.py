"""Runs of letters, which several signals count: by table and split, in a third of a regular expression's time."""

from __future__ import annotations

_LOWER = bytes(byte if byte in b"abcdefghijklmnopqrstuvwxyz" else 32 for byte in bytes(range(256)).lower())


def letters(text: str) -> list[str]:
    """The longest runs of a–z and A–Z, in lower case; every other character parts them.

    >>> letters("Don't panic: it's 42!")
    ['don', 't', 'panic', 'it', 's']
    """
    return text.encode("utf-8", "surrogatepass").translate(_LOWER).decode("ascii").split()
