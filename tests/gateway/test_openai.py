"""The official client, unchanged."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from turnout.testing.experts import Script

SUM = "add item 7 + 41"
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def client(gateway: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0)


def messages(text: str = SUM) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_whole(gateway: Any, client: openai.OpenAI) -> None:
    gateway.script(sums=Script("48"))
    raw = client.chat.completions.with_raw_response.create(model="turnout/auto", messages=messages())
    answer = raw.parse()
    assert answer.choices[0].message.content == "48"
    assert answer.model == "sums-model"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert raw.headers["x-turnout-expert"] == "sums"


def test_stream(gateway: Any, client: openai.OpenAI) -> None:
    gateway.script(sums=Script("one two three", chunks=3))
    for options, with_usage in (({}, False), ({"stream_options": {"include_usage": True}}, True)):
        chunks = list(client.chat.completions.create(model="turnout/auto", messages=messages(), stream=True, **options))
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two three"
        assert any(chunk.usage for chunk in chunks) is with_usage


def test_a_client_that_closes_at_the_last_event_counts_as_served(gateway: Any, client: openai.OpenAI) -> None:
    gateway.script(sums=Script("one two", chunks=2))
    with client.chat.completions.with_streaming_response.create(
        model="turnout/auto", messages=messages(), stream=True
    ) as response:
        trace = response.headers["x-turnout-trace"]
        assert len(list(response.parse())) == 3
    assert gateway.trace(trace).status == 200


def test_tools_pass_through(gateway: Any, client: openai.OpenAI) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    document = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    gateway.script(sums=Script(raw=json.dumps({**document, "choices": choices}).encode()))
    answer = client.chat.completions.create(model="turnout/auto", messages=messages(), tools=[TOOL])  # type: ignore[list-item]
    (made,) = answer.choices[0].message.tool_calls or []
    assert (made.id, made.type) == ("c1", "function")
    assert gateway.upstreams["sums"].requests[0].json()["tools"] == [TOOL]
    result = [*messages(), message, {"role": "tool", "tool_call_id": "c1", "content": "noon"}]
    gateway.script(sums=Script("It is noon."))
    told = client.chat.completions.create(model="turnout/auto", messages=result, tools=[TOOL])  # type: ignore[list-item, arg-type]
    assert told.choices[0].message.content == "It is noon."


def test_errors_are_the_clients_own_classes(gateway: Any, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="summs", messages=messages())
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(model="sums", messages=[])
    assert empty.value.param == "messages"
    gateway.script(sums=Script(status=429, text="slow down"))
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="sums", messages=messages())
    gateway.script(sums=Script(refuse=True))
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="sums", messages=messages())


def test_a_broken_stream_raises(gateway: Any, client: openai.OpenAI) -> None:
    gateway.script(sums=Script("one two three", chunks=3, cut_after=2))
    with pytest.raises(openai.APIError, match="sums"):
        list(client.chat.completions.create(model="sums", messages=messages(), stream=True))


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["turnout/auto", "sums", "names"]
    assert client.models.retrieve("sums").owned_by == "turnout"
