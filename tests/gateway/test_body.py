"""What is read of a request's body, and what a body may do: any bytes give a request or a RequestError."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import RequestError
from turnout.gateway.body import IMAGE_BYTES, Message, cached_bytes, parse, tool_loop, tools_in_use

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))
FIELDS = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "functions",
    "response_format",
    "logprobs",
    "top_logprobs",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "user",
    "metadata",
    "temperature",
]
ROLES = ["system", "developer", "user", "assistant", "tool", "function"]


def body(*messages: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"model": "turnout/auto", "messages": list(messages), **fields}).encode()


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": []}, set()),
        ({"tools": None, "response_format": {"type": "text"}, "logprobs": False}, set()),
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"response_format"}),
        ({"logprobs": True}, {"logprobs"}),
        ({"top_logprobs": 3}, {"logprobs"}),
    ],
)
def test_needs_of_fields(fields: dict[str, Any], needs: set[str]) -> None:
    assert parse(body(user("hi"), **fields)).needs == needs


def test_needs_of_messages() -> None:
    assert parse(body(user("hi"), {"role": "assistant", "content": "The answer is"})).needs == {"prefill"}
    assert parse(body(user([{"type": "text", "text": "hi"}]))).needs == set()
    assert parse(body(user([{"type": "image_url", "image_url": {"url": "data:,"}}]))).needs == {"images"}


def test_the_routing_text_is_the_last_user_turn() -> None:
    system, reply = {"role": "system", "content": "be brief"}, {"role": "assistant", "content": "yes"}
    assert parse(body(system, user("first"), reply, user("second"))).text == "second"
    tool = {"role": "tool", "content": "noon", "tool_call_id": "c"}
    assert parse(body(user("what time?"), {"role": "assistant", "content": None}, tool)).text == "what time?"
    parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "two"}]
    assert parse(body(user(parts))).text == "one\ntwo"
    assert parse(body(system)).text == "be brief"
    assert parse(body(user(None))).text == ""


def test_a_picture_counts_as_a_picture_not_as_its_bytes() -> None:
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:" + "A" * 100_000}}]
    assert parse(body(user(parts))).size == IMAGE_BYTES + 5
    assert parse(body(user("x" * 1000))).size > 1000


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"max_tokens": 9}, 9),
        ({"max_tokens": 9, "max_completion_tokens": 5}, 5),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 10**400}, 1 << 40),
        ({"max_tokens": None}, None),
    ],
)
def test_the_cap_on_the_answer(fields: dict[str, Any], expected: int | None) -> None:
    assert parse(body(user("hi"), **fields)).max_tokens == expected


def refusal(raw: bytes) -> RequestError | None:
    try:
        parse(raw)
    except RequestError as error:
        return error
    return None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_400(raw: bytes) -> None:
    error = refusal(raw)
    assert error is None or error.status == 400


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8))
def test_any_object_is_a_request_or_a_400_that_names_a_known_parameter(document: dict[str, Any]) -> None:
    error = refusal(json.dumps(document).encode())
    assert error is None or error.status == 400
    assert error is None or error.param is None or error.param.split(".")[0].split("[")[0] in FIELDS


@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(ROLES), "content": st.none() | st.text(max_size=20)},
            optional={"name": st.text(max_size=5), "tool_calls": st.lists(VALUES, max_size=2)},
        ),
        min_size=1,
        max_size=5,
    )
)
def test_every_well_formed_conversation_is_taken(messages: list[dict[str, Any]]) -> None:
    parsed = parse(json.dumps({"model": "m", "messages": messages}).encode())
    said = [message["content"] for message in messages if message["role"] == "user"]
    assert parsed.text == ((said[-1] if said else messages[-1]["content"]) or "")


def test_what_was_read_before_and_whether_tools_are_awaited() -> None:
    messages = [Message("user", "12345"), Message("assistant", "678"), Message("user", "and?")]
    assert cached_bytes(messages) == 8
    assert cached_bytes(messages[:1]) == 0
    assert not tool_loop(messages)
    assert tool_loop([*messages[:2], Message("tool", "42")])


def test_the_tools_in_use_are_those_that_were_called() -> None:
    def calling(*calls: Any) -> dict[str, Any]:
        return {"role": "assistant", "content": None, "tool_calls": list(calls)}

    clock, mail = (
        {"id": "1", "type": "function", "function": {"name": n, "arguments": "{}"}} for n in ("clock", "mail")
    )
    messages = [{"role": "user", "content": "hi"}, calling(mail), calling(clock, mail), calling({"type": "custom"})]
    asked = {"model": "m", "messages": messages, "tools": [{"function": {"name": "unused"}}]}
    assert tools_in_use(parse(json.dumps(asked).encode()).body.messages) == ("mail", "clock")
    odd: list[Any] = [None, 3, "mail", {"function": "mail"}, [mail, 3], [{"function": {"name": None}}]]
    for calls in odd:
        asked["messages"] = [{"role": "assistant", "tool_calls": calls}]
        assert tools_in_use(parse(json.dumps(asked).encode()).body.messages) == ()
    garbled = json.dumps({"model": "m", "messages": [calling(clock)]}).encode().replace(b"clock", b"\xff")
    assert tools_in_use(parse(garbled).body.messages) == ()
