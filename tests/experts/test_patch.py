"""Only the named bytes of a request change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import RequestError
from turnout.experts.patch import members, patch

text = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": text}), max_size=3)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": text | parts}, optional={"name": text}
    ),
    max_size=4,
)
bodies = st.dictionaries(text, values, max_size=4).flatmap(
    lambda extra: st.fixed_dictionaries(
        {"messages": messages},
        optional={"model": text, "stream_options": st.just(None) | st.dictionaries(text, values, max_size=2)},
    ).flatmap(lambda named: st.permutations(list({**extra, **named}.items())).map(dict))
)
STYLES: list[dict[str, Any]] = [
    {},
    {"separators": (",", ":")},
    {"indent": 3},
    {"ensure_ascii": False},
    {"separators": (" ,\n", "\t: ")},
]
styled = st.tuples(bodies, st.sampled_from(STYLES))


def encode(document: Any, style: dict[str, Any]) -> bytes:
    return (" " + json.dumps(document, **style) + "\n").encode()


def expected(document: dict[str, Any], suffix: str) -> dict[str, Any]:
    """What the patch means, done the slow way."""
    wanted = json.loads(json.dumps(document))
    for message in reversed(wanted["messages"]):
        if message["role"] == "user":
            if isinstance(message["content"], str):
                message["content"] += suffix
            else:
                message["content"].append({"type": "text", "text": suffix.lstrip()})
            return wanted
    wanted["messages"].append({"role": "user", "content": suffix.lstrip()})
    return wanted


@given(styled, text, text.filter(bool), st.dictionaries(st.sampled_from(["seed", "stop", "ü"]), values, max_size=2))
def test_means_the_same_as_a_patched_document(case: Any, model: str, suffix: str, fields: dict[str, Any]) -> None:
    document, style = case
    body = encode(document, style)
    patched = json.loads(patch(body, model=model, suffix=suffix, fields=fields))
    assert patched == {**expected(document, suffix), "model": model, **fields}


@given(styled)
def test_asks_for_usage(case: Any) -> None:
    document, style = case
    patched = json.loads(patch(encode(document, style), include_usage=True))
    options = {**(document.get("stream_options") or {}), "include_usage": True}
    assert patched == {**document, "stream_options": options}


@given(styled, text)
def test_keeps_every_other_byte(case: Any, model: str) -> None:
    document, style = case
    body = encode({**document, "model": "before"}, style)
    start, end = members(body)["model"]
    patched = patch(body, model=model)
    assert patched.startswith(body[:start])
    assert patched.endswith(body[end:])
    assert json.loads(patched[start : len(patched) - (len(body) - end)]) == model


@given(styled)
def test_nothing_to_change_changes_nothing(case: Any) -> None:
    body = encode(*case)
    assert patch(body) == body


@given(styled)
def test_members_are_where_the_values_lie(case: Any) -> None:
    document, style = case
    body = encode(document, style)
    assert {key: json.loads(body[s:e]) for key, (s, e) in members(body).items()} == document


def test_suffix_goes_into_the_last_user_message() -> None:
    body = (
        b'{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"x"}'
        b' , {"content" : "tw\\u00f6" ,"role":"user"},{"role":"assistant","content":"y"} ]}'
    )
    assert patch(body, suffix="\n!") == body.replace(b'tw\\u00f6"', b'tw\\u00f6\\n!"')


def test_suffix_becomes_a_part_or_a_message() -> None:
    picture = b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}} ]}]}'
    assert json.loads(patch(picture, suffix="\n!"))["messages"][0]["content"][1] == {"type": "text", "text": "!"}
    assert json.loads(patch(b'{"messages":[]}', suffix="!"))["messages"] == [{"role": "user", "content": "!"}]


def test_decoys_stay() -> None:
    body = b'{"a":"\\"model\\":\\"x\\"","b":{"model":"inner"},"tools":[{"model":"t"}],"model":"auto"}'
    assert patch(body, model="m") == body.replace(b'"auto"', b'"m"')


def test_escaped_keys_are_the_same_keys() -> None:
    assert patch(b'{"mod\\u0065l":"auto"}', model="m") == b'{"mod\\u0065l":"m"}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","x":1,"model":"a"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"a":1,"b":2,"a":"     "}',
        b'{"a":1,"b":2,"a":1,"b":2}',
        b'{"a":"x","a":"x","b":1}',
    ],
)
def test_a_repeated_key_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="repeats a key") as raised:
        patch(body, model="m")
    assert raised.value.status == 400


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), values), min_size=1, max_size=5))
def test_every_repetition_is_found(pairs: list[tuple[str, Any]]) -> None:
    body = b"{" + b",".join(json.dumps(k).encode() + b":" + json.dumps(v).encode() for k, v in pairs) + b"}"
    if len({key for key, _ in pairs}) == len(pairs):
        assert set(members(body)) == {key for key, _ in pairs}
    else:
        with pytest.raises(RequestError, match="repeats a key"):
            members(body)


@pytest.mark.parametrize("body", [b"", b"[]", b'"a"', b"{", b'{"a":1}x', b'{"a":01}', b"null", b"\xff", b'{"a" 1}'])
def test_other_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="must be a JSON object"):
        patch(body, model="m")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"{}", "`messages` is missing"),
        (b'{"messages":3}', "`messages` must be a list"),
        (b'{"messages":[3]}', "list of messages: Expected `object`"),
        (b'{"messages":[{"role":"user"}]}', "`content` must be"),
        (b'{"messages":[{"role":"user","content":null}]}', "`content` must be"),
    ],
)
def test_messages_of_the_wrong_type_are_refused(body: bytes, what: str) -> None:
    with pytest.raises(RequestError, match=what):
        patch(body, suffix="!")


@given(st.binary(max_size=40) | st.text('{}[]",:ab1 \\', max_size=30).map(str.encode))
def test_any_bytes_give_a_request_error_or_json(body: bytes) -> None:
    try:
        patched = patch(body, model="m", include_usage=True)
    except RequestError:
        return
    assert b'"m"' in patched
