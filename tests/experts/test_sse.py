"""Reading the usage of a stream, and withholding its event, however the stream is cut into chunks."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turnout.experts.sse import MAX_EVENT, UsageFilter, is_finished, usage_of_events, usage_of_json
from turnout.types import Usage

COUNTS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
USAGE_EVENT = b"data: " + json.dumps({"id": "x", "choices": [], "usage": COUNTS}).encode()


def event(document: Any, end: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps(document).encode() + end


TRICKY = [
    event({"choices": [{"delta": {"content": '"choices":[],"usage":{"prompt_tokens":1}'}}]}),
    event({"choices": [{"delta": {"content": "a"}}], "usage": None}),
    event({"choices": [], "prompt_filter_results": [{"index": 0}]}),
    event({"choices": [], "usage": None}),
    event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": COUNTS}),
    event({"choices": [{"delta": {"content": "ü\n\n"}}]}, b"\r\n\r\n"),
    b": a comment\n\n",
    b": ping\n\n\n\n",
    b"event: ping\ndata: {}\n\n",
    b"data: [DONE]\n\n",
    b"\r\n",
    b"\n",
    b"not an event at all",
]


def feed(chunks: list[bytes]) -> tuple[bytes, UsageFilter]:
    events = UsageFilter()
    passed = b"".join([events.feed(chunk) for chunk in chunks])
    return passed + events.close(), events


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    pieces = draw(st.lists(st.sampled_from(TRICKY), max_size=6))
    stream = b"".join(pieces)
    whole = draw(st.sampled_from([b"", USAGE_EVENT + b"\n\n", USAGE_EVENT + b"\r\n\r\n", USAGE_EVENT]))
    stream += whole + draw(st.sampled_from([b"", b"data: [DONE]\n\n"]))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream], [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(cut_streams())
def test_how_a_stream_is_cut_makes_no_difference(streams: tuple[list[bytes], list[bytes]]) -> None:
    whole, pieces = streams
    (passed, one), (passed_cut, other) = feed(whole), feed(pieces)
    assert passed == passed_cut
    assert one.usage == other.usage


@given(st.lists(st.sampled_from(TRICKY[:-1]), max_size=6), st.integers(1, 50))
def test_all_but_the_usage_event_passes(pieces: list[bytes], size: int) -> None:
    before, after = b"".join(pieces), b"data: [DONE]\n\n"
    stream = before + b"\n\n" + USAGE_EVENT + b"\n\n" + after
    passed, events = feed([stream[i : i + size] for i in range(0, len(stream), size)])
    assert passed == before + b"\n\n" + after
    assert events.usage == Usage(7, 3)


@given(st.lists(st.sampled_from(TRICKY), max_size=8), st.integers(1, 50))
def test_a_stream_without_the_event_is_untouched(pieces: list[bytes], size: int) -> None:
    stream = b"".join(pieces)
    passed, events = feed([stream[i : i + size] for i in range(0, len(stream), size)])
    assert passed == stream
    assert events.usage is None


def test_whole_events_pass_as_the_same_object() -> None:
    chunk = TRICKY[0]
    assert UsageFilter().feed(chunk) is chunk


def test_a_whole_event_does_not_wait() -> None:
    events = UsageFilter()
    assert events.feed(b"data: {}\n\ndata: {") == b"data: {}\n\n"
    assert events.held == 7


def test_an_endless_event_is_not_held() -> None:
    events = UsageFilter()
    passed = b"".join(events.feed(b"x" * 65536) for _ in range(40))
    assert events.held <= MAX_EVENT
    assert len(passed) + events.held == 40 * 65536


def test_usage_of_a_tail_that_begins_inside_an_event() -> None:
    tail = b'lo"}}]}\n\n' + USAGE_EVENT + b"\r\n\r\ndata: [DONE]\n\n"
    assert usage_of_events(tail) == Usage(7, 3)


def test_cached_tokens() -> None:
    body = json.dumps({"usage": {**COUNTS, "prompt_tokens_details": {"cached_tokens": 4}}}).encode()
    assert usage_of_json(body) == Usage(7, 3, 4)


@given(st.binary(max_size=60) | st.sampled_from([b'{"usage":3}', b'{"usage":{"prompt_tokens":"x"}}', b"[]", b"null"]))
def test_garbage_has_no_usage(body: bytes) -> None:
    assert usage_of_json(body) == Usage()
    assert usage_of_events(b"data: " + body) == Usage()


def test_is_finished() -> None:
    assert is_finished(b"data: [DONE]\n\n")
    assert is_finished(event({"choices": [{"finish_reason": "length"}]}))
    assert not is_finished(event({"choices": [{"finish_reason": None}]}))
    assert not is_finished(b"")


def test_counts_that_no_answer_can_have_are_not_reported() -> None:
    assert usage_of_json(b'{"usage":{"prompt_tokens":-5,"completion_tokens":3}}') == Usage(None, 3)
    assert usage_of_json(b'{"usage":{"prompt_tokens":7,"completion_tokens":100000000000000000000}}') == Usage(7)


def test_counts_may_be_written_as_floats() -> None:
    counts = b'"prompt_tokens":12.0,"completion_tokens":3e0,"prompt_tokens_details":{"cached_tokens":4.0}'
    counts = b'{"choices":[],"usage":{%s}}' % counts
    assert usage_of_json(counts) == Usage(12, 3, 4)
    assert UsageFilter().feed(b"data: " + counts + b"\n\n") == b""
    assert usage_of_json(b'{"usage":{"prompt_tokens":1.5,"completion_tokens":true}}') == Usage()


def test_an_event_that_is_nested_too_deeply_passes_as_it_came() -> None:
    deep = b'data: {"choices":[],"usage":{"prompt_tokens":1},"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n"
    assert UsageFilter().feed(deep) == deep
    assert usage_of_events(deep) == Usage()
