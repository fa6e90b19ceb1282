"""Utterances and the expert of each, from JSON lines: `{"text": …, "expert": …}`, a null expert for out of scope."""

from __future__ import annotations

import json
from pathlib import Path

from turnout.errors import CardError


def read_utterances(path: Path | str) -> tuple[list[str], list[str | None]]:
    """Texts and experts. Raises CardError with the line at fault."""
    texts: list[str] = []
    experts: list[str | None] = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"cannot read utterances from {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CardError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise CardError(f"{path}, line {number}: must be an object with a `text`, got {line[:60]!r}")
        expert = row.get("expert")
        if expert is not None and not isinstance(expert, str):
            raise CardError(f"{path}, line {number}: `expert` must be an id or null, got {expert!r}")
        texts.append(row["text"])
        experts.append(expert)
    if not texts:
        raise CardError(f"{path} holds no utterance")
    return texts, experts
