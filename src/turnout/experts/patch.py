"""Change named values inside a JSON request body and leave every other byte exactly as it was received.

`msgspec.Raw` finds the extent of each value at C speed; a walk over the few bytes between the values then proves where
each one starts. The walk fails where a key occurs twice, so the value that is changed is the one upstream reads.

Limits: top-level keys must be unique; invalid UTF-8 inside strings passes through unseen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from turnout.errors import RequestError

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_KEY = re.compile(rb'[ \t\r\n]*("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*')
_NEXT = re.compile(rb"[ \t\r\n]*([,}])")
_OPEN = re.compile(rb"[ \t\r\n]*\{")
_SPACE = b" \t\r\n"


class Span(NamedTuple):
    """Bytes `start` to `end` of a body."""

    start: int
    end: int


class Edit(NamedTuple):
    """Replace the bytes of a span; an empty span inserts."""

    start: int
    end: int
    new: bytes


def patch(
    body: bytes,
    *,
    model: str | None = None,
    suffix: str = "",
    fields: Mapping[str, Any] | None = None,
    include_usage: bool = False,
) -> bytes:
    """The body with `model` and `fields` set and `suffix` added to the last user message; all other bytes are kept.

    A field that is absent is added at the end. `include_usage` sets `stream_options.include_usage`. Where no user
    message exists, `suffix` becomes one. Raises RequestError (400) for a body that is not a JSON object, repeats a key,
    or has messages of the wrong type.

    >>> patch(b'{"messages": [{"role":"user","content":"2+2?"}],  "model": "auto"}', model="m", suffix=" Think.")
    b'{"messages": [{"role":"user","content":"2+2? Think."}],  "model": "m"}'
    >>> patch(b'{"model":"auto"}', model="m", fields={"seed": 7})
    b'{"model":"m","seed":7}'
    """
    spans = members(body)
    wanted = dict(fields or {}) if model is None else {"model": model, **(fields or {})}
    edits = [Edit(*spans[key], orjson.dumps(value)) for key, value in wanted.items() if key in spans]
    added = {key: value for key, value in wanted.items() if key not in spans}
    if include_usage and "stream_options" not in wanted:
        options = spans.get("stream_options")
        if options is None:
            added["stream_options"] = {"include_usage": True}
        else:
            edits.append(Edit(*options, _with_usage(body[options.start : options.end])))
    if suffix and "messages" not in wanted:
        edits.append(_suffix_edit(body, spans.get("messages"), suffix))
    if added:
        edits.append(_added_edit(body, spans, added))
    return _apply(body, edits)


def members(body: bytes) -> dict[str, Span]:
    """Where each value of a JSON object lies. Raises RequestError for other JSON and for a repeated key.

    >>> members(b'{"a": 1, "b": [2]}')
    {'a': Span(start=6, end=7), 'b': Span(start=14, end=17)}
    """
    try:
        values = _OBJECT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the request body must be a JSON object: {error}") from error
    found: dict[str, Span] = {}
    opened = _OPEN.match(body)
    at = opened.end() if opened else 0
    for key, raw in values.items():
        value = bytes(raw)
        named = _KEY.match(body, at)
        start = named.end() if named else 0
        end = start + len(value)
        after = _NEXT.match(body, end)
        if not named or not after or body[start:end] != value:
            raise _repeated(body, values)
        found[key] = Span(start, end)
        at = after.end()
        if (after[1] == b"}") != (len(found) == len(values)):
            raise _repeated(body, values)
    return found


def _repeated(body: bytes, values: Mapping[str, Any]) -> RequestError:
    """The walk and the parse disagree only where a key is there twice."""
    names = [key for key in values if body.count(orjson.dumps(key)) > 1]
    which = f": {', '.join(names[:3])}" if names else ""
    return RequestError(f"the request body repeats a key{which}; every key must be there once", code="repeated_key")


def _with_usage(options: bytes) -> bytes:
    if options == b"null":
        return b'{"include_usage":true}'
    return patch(options, fields={"include_usage": True})


def _added_edit(body: bytes, spans: Mapping[str, Span], added: Mapping[str, Any]) -> Edit:
    text = orjson.dumps(added)[1:-1]
    if not spans:
        at = body.index(b"{") + 1
        return Edit(at, at, text)
    at = max(span.end for span in spans.values())
    return Edit(at, at, b"," + text)


def _suffix_edit(body: bytes, span: Span | None, suffix: str) -> Edit:
    """Where and how the suffix goes into the messages."""
    if span is None:
        raise RequestError("`messages` is missing; it must be a list", param="messages")
    try:
        messages = _ARRAY.decode(body[span.start : span.end])
    except msgspec.DecodeError as error:
        raise RequestError(f"`messages` must be a list: {error}", param="messages") from error
    end = span.end - 1
    for index in range(len(messages) - 1, -1, -1):
        message = bytes(messages[index])
        end = _back(body, end)
        start = end - len(message)
        parts = members(message)
        role = parts.get("role")
        if role and message[role.start : role.end] == b'"user"':
            return _content_edit(body, message, parts, start, suffix)
        end = start
    new = orjson.dumps({"role": "user", "content": suffix.lstrip()})
    at = _back(body, span.end - 1)
    return Edit(at, at, b"," + new if messages else new)


def _content_edit(body: bytes, message: bytes, parts: Mapping[str, Span], start: int, suffix: str) -> Edit:
    content = parts.get("content")
    value = message[content.start : content.end] if content else b"null"
    if content and value[:1] == b'"':
        at = start + content.end - 1
        return Edit(at, at, orjson.dumps(suffix)[1:-1])
    if content and value[:1] == b"[":
        at = _back(body, start + content.end - 1)
        new = orjson.dumps({"type": "text", "text": suffix.lstrip()})
        return Edit(at, at, b"," + new if _ARRAY.decode(value) else new)
    raise RequestError("the last user message's `content` must be a string or a list of parts", param="messages")


def _back(body: bytes, end: int) -> int:
    """The end of the value that comes before position `end`, which stands on or after its comma or bracket."""
    while body[end - 1] in _SPACE or body[end - 1] == ord(","):
        end -= 1
    return end


def _apply(body: bytes, edits: list[Edit]) -> bytes:
    pieces: list[bytes | memoryview] = []
    view, at = memoryview(body), 0
    for edit in sorted(edits):
        pieces += (view[at : edit.start], edit.new)
        at = edit.end
    pieces.append(view[at:])
    return b"".join(pieces)
