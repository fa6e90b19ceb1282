"""What goes back to a client."""

from __future__ import annotations

import json

import pytest

from turnout.errors import ExpertError, ExpertTimeout, RequestError
from turnout.gateway.replies import Message, Responder, error_document, error_event, is_error, passed
from turnout.gateway.text import answer_text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RequestError("m", code="c", param="p"), ("invalid_request_error", "p", "c")),
        (RequestError("m", type="server_error"), ("server_error", None, None)),
        (ExpertError("m"), ("server_error", None, "upstream_error")),
        (ExpertTimeout("m"), ("server_error", None, "timeout")),
    ],
)
def test_errors_have_one_shape(error: RequestError | ExpertError, expected: tuple[str, str | None, str | None]) -> None:
    told = error_document(error)["error"]
    assert told["message"] == "m"
    assert (told["type"], told["param"], told["code"]) == expected
    event = error_event(ExpertError('with "quotes"\nand lines'))
    (data,) = [line for line in event.split(b"\n") if line]
    assert json.loads(data.removeprefix(b"data: "))["error"]["message"] == 'with "quotes"\nand lines'


def test_only_harmless_headers_pass() -> None:
    upstream = {
        "content-type": "text/event-stream",
        "x-ratelimit-remaining-requests": "7",
        "openai-version": "1",
        "server": "internal-7",
        "set-cookie": "a=b",
        "access-control-allow-origin": "*",
        "location": "http://10.0.0.7/",
        "x-turnout-expert": "forged",
    }
    names = {name for name, _ in passed(upstream)}
    assert names == {b"content-type", b"x-ratelimit-remaining-requests", b"openai-version"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error": "x"}', True),
        (b'{"object":"error","message":"x"}', True),
        (b'{"detail": []}', True),
        (b'{"choices": []}', False),
        (b"[]", False),
        (b"<html>", False),
        (b"", False),
        (b"[" * 100_000, False),
    ],
)
def test_what_counts_as_an_explanation(body: bytes, expected: bool) -> None:
    assert is_error(body) is expected


async def test_a_response_knows_how_far_it_is() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    respond = Responder(send, ((b"vary", b"origin"),))
    assert (respond.started, respond.ended) == (False, False)
    await respond.error(RequestError("wait", status=503))
    assert (respond.started, respond.ended) == (True, True)
    assert sent[0]["status"] == 503
    assert {(b"retry-after", b"1"), (b"vary", b"origin")} <= set(sent[0]["headers"])
    assert dict(sent[0]["headers"])[b"content-length"] == b"%d" % len(sent[1]["body"])


@pytest.mark.parametrize(
    ("body", "stream", "text"),
    [
        (
            b'{"choices":[{"index":0,"message":{"content":"four"}},{"index":1,"message":{"content":"4"}}]}',
            False,
            "four",
        ),
        (b'{"choices":[{"message":{"content":null,"tool_calls":[]}}]}', False, ""),
        (b"<html>", False, ""),
        (b'data: {"choices":[{"delta":{"content":"fo"}}]}\n\ndata: {"cho\n\n: ping\n\n', True, "fo"),
    ],
)
def test_the_text_of_an_answer(body: bytes, stream: bool, text: str) -> None:
    assert answer_text(body, stream=stream) == text
