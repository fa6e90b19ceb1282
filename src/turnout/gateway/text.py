"""The text of an answer, read for traces that keep text."""

from __future__ import annotations

import msgspec


class _Content(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Content | None = None
    delta: _Content | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []


_decoder = msgspec.json.Decoder(_Answer)


def answer_text(body: bytes, *, stream: bool) -> str:
    """The first choice's text; what cannot be read is left out.

    >>> answer_text(b'data: {"choices":[{"delta":{"content":"4"}}]}\\n\\ndata: [DONE]\\n\\n', stream=True)
    '4'
    """
    if not stream:
        return _text(body)
    return "".join(_text(line[5:]) for line in body.splitlines() if line.startswith(b"data:"))


def _text(document: bytes) -> str:
    try:
        answer = _decoder.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    parts = [choice.message or choice.delta for choice in answer.choices if choice.index == 0]
    return "".join(part.content for part in parts if part and part.content)
