"""Server-sent events as OpenAI-compatible servers write them: reading the usage, and withholding its event.

Limits: events end with an empty line whose line ends are LF or CRLF; a lone CR, which the standard also allows, is not
taken for a line end. Only the last event that carries a usage object counts. An event over 1 MiB passes in pieces.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from turnout.types import Usage

MAX_EVENT = 1 << 20  # a longer event is passed on in pieces, so that no upstream can fill the memory
MOST_TOKENS = 1 << 40  # far above any context
_BLANK = re.compile(rb"\n\r?\n")
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_DATA = re.compile(rb"^data:[ ]?(.*?)\r?$", re.MULTILINE)
_FINISHED = re.compile(rb'data:[ ]?\[DONE\]|"finish_reason"\s*:\s*"')


class _Details(msgspec.Struct):
    cached_tokens: Any = None


class _Counts(msgspec.Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _Details | None = None


class _Event(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: _Counts | None = None


_decoder = msgspec.json.Decoder(_Event)


def usage_of_json(body: bytes) -> Usage:
    """The usage that a JSON answer reports; empty where it reports none or is not JSON.

    >>> usage_of_json(b'{"usage":{"prompt_tokens":5,"completion_tokens":2}}')
    Usage(prompt_tokens=5, completion_tokens=2, cached_tokens=None)
    """
    event = _event(body)
    if event is None or event.usage is None:
        return Usage()
    counts = event.usage
    cached = counts.prompt_tokens_details.cached_tokens if counts.prompt_tokens_details else None
    return Usage(_count(counts.prompt_tokens), _count(counts.completion_tokens), _count(cached))


def usage_of_events(tail: bytes) -> Usage:
    """The usage in the last event that reports one, given the end of a stream.

    >>> usage_of_events(b'data: {"usage":{"prompt_tokens":5,"completion_tokens":2}}\\n\\ndata: [DONE]\\n\\n')
    Usage(prompt_tokens=5, completion_tokens=2, cached_tokens=None)
    """
    end = len(tail)
    while (at := tail.rfind(b'"usage"', 0, end)) >= 0:  # from the end: a search for every event costs ten times as much
        end = tail.rfind(b"\n", 0, at) + 1
        line, _, _ = tail[end:].partition(b"\n")
        if line.startswith(b"data:") and (usage := usage_of_json(line[5:])) != Usage():
            return usage
    return Usage()


def is_finished(tail: bytes) -> bool:
    """Whether the end of a stream says that the answer is whole: `[DONE]`, or a choice with a finish reason."""
    return _FINISHED.search(tail) is not None


class UsageFilter:
    """Takes the event that only reports usage out of a stream; every other byte passes as it came.

    Events are passed on whole: the beginning of one waits for its end, so how the stream was cut into chunks does not
    change what comes out. `held` bytes wait; `usage` is the withheld event's, or None.

    >>> events = UsageFilter()
    >>> events.feed(b'data: {"choices":[{}]}\\n\\ndata: {"choices":[],"usa')
    b'data: {"choices":[{}]}\\n\\n'
    >>> events.feed(b'ge":{"prompt_tokens":1}}\\n\\n') + events.close()
    b''
    """

    __slots__ = ("_held", "usage")

    def __init__(self) -> None:
        self._held = b""
        self.usage: Usage | None = None

    @property
    def held(self) -> int:
        return len(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """The whole events so far, without the one that only reports usage."""
        # An event's end may be cut between its line feeds, so the search starts a little before the new bytes.
        data, seen = (self._held + chunk, max(0, len(self._held) - 2)) if self._held else (chunk, 0)
        end = len(data) if data.endswith(b"\n\n") else _last_end(data, seen)
        if len(data) - end > MAX_EVENT:
            end = len(data)
        if end == len(data):
            whole, self._held = data, b""
        else:
            whole, self._held = data[:end], data[end:]
        return self._without_usage(whole) if _NO_CHOICES.search(whole) else whole

    def close(self) -> bytes:
        """What is left when the stream ends; an unfinished last event is passed on, or withheld if it is the usage."""
        rest, self._held = self._held, b""
        return self._keep(rest)

    def _without_usage(self, whole: bytes) -> bytes:
        kept, at = [], 0
        for blank in _BLANK.finditer(whole):
            kept.append(self._keep(whole[at : blank.end()]))
            at = blank.end()
        kept.append(whole[at:])
        return b"".join(kept)

    def _keep(self, event: bytes) -> bytes:
        """The event, or, of the usage's event, the line ends before it: they may have passed on with the one before."""
        if not (_NO_CHOICES.search(event) and self._is_usage(event)):
            return event
        return event[: len(event) - len(event.lstrip(b"\r\n"))]

    def _is_usage(self, event: bytes) -> bool:
        data = b"\n".join(_DATA.findall(event))
        found = _event(data)
        if found is None or found.usage is None or found.choices != []:
            return False
        self.usage = usage_of_json(data)
        return True


def _last_end(data: bytes, seen: int) -> int:
    """Where the last whole event ends, or 0."""
    lf, crlf = data.rfind(b"\n\n", seen), data.rfind(b"\n\r\n", seen)
    return max(lf + 2 if lf >= 0 else 0, crlf + 3 if crlf >= 0 else 0)


def _event(data: bytes) -> _Event | None:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _count(tokens: Any) -> int | None:
    """A whole number, 12.0 too. What no answer can have consumed counts as not reported, as what is no number does."""
    whole = isinstance(tokens, (int, float)) and not isinstance(tokens, bool) and tokens == tokens // 1
    return int(tokens) if whole and 0 <= tokens <= MOST_TOKENS else None
