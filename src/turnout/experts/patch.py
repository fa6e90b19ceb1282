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
import numpy as np
import orjson

from turnout.errors import RequestError


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw = msgspec.Raw(b"null")


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MESSAGES = msgspec.json.Decoder(list[_Message])
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
        value = memoryview(raw)
        named = _KEY.match(body, at)
        start = named.end() if named else 0
        end = start + len(value)
        after = _NEXT.match(body, end)
        if not named or not after or not body.startswith(value, start):
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
        messages = _MESSAGES.decode(memoryview(body)[span.start : span.end])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"`messages` must be a list of messages: {error}", param="messages") from error
    for message in reversed(messages):
        if message.role == "user":
            return _content_edit(body, message.content, suffix)
    return _append_edit(body, span.end - 1, {"role": "user", "content": suffix.lstrip()})


def _content_edit(body: bytes, content: msgspec.Raw, suffix: str) -> Edit:
    value = memoryview(content)
    first = bytes(value[:1])
    if first not in {b'"', b"["}:
        raise RequestError("the last user message's `content` must be a string or a list of parts", param="messages")
    start = _address(content) - _address(body)  # a Raw is a view of the bytes that were decoded
    if start < 0 or not body.startswith(value, start):
        raise AssertionError("msgspec.Raw no longer views the decoded bytes")
    end = start + len(value) - 1
    if first == b'"':
        return Edit(end, end, orjson.dumps(suffix)[1:-1])
    return _append_edit(body, end, {"type": "text", "text": suffix.lstrip()})


def _append_edit(body: bytes, bracket: int, item: Mapping[str, str]) -> Edit:
    """Add an item to the list that closes at `bracket`."""
    while body[bracket - 1] in _SPACE:
        bracket -= 1
    new = orjson.dumps(item)
    return Edit(bracket, bracket, new if body[bracket - 1] == ord("[") else b"," + new)


def _address(buffer: bytes | msgspec.Raw) -> int:
    return int(np.frombuffer(buffer, np.uint8).ctypes.data)


def _apply(body: bytes, edits: list[Edit]) -> bytes:
    pieces: list[bytes | memoryview] = []
    view, at = memoryview(body), 0
    for edit in sorted(edits):
        pieces += (view[at : edit.start], edit.new)
        at = edit.end
    pieces.append(view[at:])
    return b"".join(pieces)
