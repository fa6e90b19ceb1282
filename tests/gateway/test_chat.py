"""The endpoint over real sockets: who answers, what passes, what is recorded."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from turnout.experts.patch import patch
from turnout.testing.experts import Script, unused_url

SUM, NAME = "add item 7 + 41", "name item 8  310"


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


def test_auto_is_answered_by_the_expert_that_the_router_chose(gateway: Any) -> None:
    for text, expert in ((SUM, "sums"), (NAME, "names")):
        answer = gateway.ask(text)
        assert (answer.status, answer.headers["x-turnout-expert"]) == (200, expert)
        assert answer.headers["x-turnout-reason"] == "routed"
        assert answer.headers["x-turnout-plan"].startswith(f"{expert} > ")
        assert 0 <= float(answer.headers["x-turnout-quality"]) <= 1
        trace = gateway.trace(answer.headers["x-turnout-trace"])
        assert (trace.requested, trace.expert, trace.status) == ("turnout/auto", expert, 200)
        assert [call.expert for call in trace.calls] == [expert]
        assert trace.decision.seed > 0
        assert trace.decision.signals


def test_a_named_expert_is_forced(gateway: Any) -> None:
    answer = gateway.ask(SUM, model="names")
    assert answer.headers["x-turnout-expert"] == "names"
    assert answer.headers["x-turnout-reason"] == "forced"
    assert gateway.asked() == {"sums": 0, "names": 1}


def test_bytes_pass_both_ways_as_they_are(gateway: Any) -> None:
    odd_answer = b'{ "b":1.0e3,\n"model" : "theirs", "usage":null, "x":"\\u00e9 \xc3\xa9", "choices":[] }\n '
    gateway.script(sums=Script(raw=odd_answer))
    odd_request = (
        b'{\n "temperature": 1.0, "unknown":[1,  null],"model" :"turnout/auto",'
        b'"messages":[{"content":"add item 7 + 41 \\u00e9","role":"user","x":null}] ,"seed":1e1 }\n'
    )
    answer = gateway.chat(odd_request)
    assert answer.body == odd_answer
    received = gateway.upstreams["sums"].requests[0]
    assert received.body == odd_request.replace(b'"turnout/auto"', b'"sums-model"')
    assert received.headers["authorization"] == "Bearer upstream-key"


def test_the_clients_key_and_headers_stay_here(gateway: Any) -> None:
    gateway.chat(
        {"model": "sums", "messages": [{"role": "user", "content": "hi"}]},
        authorization="Bearer client-secret",
        cookie="a=b",
        x_forwarded_for="10.0.0.1",
    )
    headers = gateway.upstreams["sums"].requests[0].headers
    assert "client-secret" not in str(headers)
    assert {"cookie", "x-forwarded-for"}.isdisjoint(headers)


def test_a_stream_passes_event_by_event_without_the_usage_nobody_asked_for(gateway: Any) -> None:
    gateway.script(sums=Script("one two three", chunks=3))
    answer = gateway.ask(SUM, stream=True)
    received = gateway.upstreams["sums"].requests[0]
    assert received.json()["stream_options"] == {"include_usage": True}
    events = [event for event in answer.body.split(b"\n\n") if event]
    assert answer.headers["content-type"] == "text/event-stream"
    assert events[-1] == b"data: [DONE]"
    texts = [json.loads(event[6:])["choices"][0]["delta"].get("content", "") for event in events[:-1]]
    assert "".join(texts) == "one two three"
    assert b"usage" not in answer.body
    trace = gateway.trace(answer.headers["x-turnout-trace"])
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (10, 5)
    assert trace.cost == pytest.approx((2.0 * 10 + 10.0 * 5) / 1e6)
    assert float(answer.headers["x-turnout-cost"]) == pytest.approx(trace.decision.estimate("cost"), abs=1e-9)


def test_a_stream_with_usage_passes_whole(gateway: Any) -> None:
    gateway.script(sums=Script("one two three", chunks=3))
    body = {"model": "sums", "stream": True, "stream_options": {"include_usage": True}}
    answer = gateway.chat({**body, "messages": [{"role": "user", "content": "hi"}]})
    assert b'"usage": {"prompt_tokens": 10' in answer.body
    assert gateway.upstreams["sums"].requests[0].json()["stream_options"] == {"include_usage": True}


def test_the_cost_of_a_whole_answer_is_the_actual_one(gateway: Any) -> None:
    answer = gateway.ask(NAME)
    assert float(answer.headers["x-turnout-cost"]) == pytest.approx((1.0 * 10 + 5.0 * 5) / 1e6)
    trace = gateway.trace(answer.headers["x-turnout-trace"])
    assert trace.cost == pytest.approx((1.0 * 10 + 5.0 * 5) / 1e6)
    assert trace.decision.estimate("cost") is not None
    assert trace.first_byte_s <= trace.latency_s


def test_an_arms_how_changes_only_what_it_says(gateway: Any) -> None:
    body = json.dumps({"model": "sums", "messages": [{"role": "user", "content": "hi"}], "n": 1}).encode()
    gateway.chat(body)
    assert gateway.upstreams["sums"].requests[0].body == patch(body, model="sums-model")


def test_what_an_expert_lacks_makes_it_ineligible(gateway: Any) -> None:
    answer = gateway.ask(NAME, tools=[{"type": "function", "function": {"name": "f"}}])
    assert answer.headers["x-turnout-expert"] == "sums"
    assert answer.headers["x-turnout-reason"] == "only"
    trace = gateway.trace(answer.headers["x-turnout-trace"])
    assert trace.decision.refusals == {"names": "no tools"}
    forced = gateway.ask(NAME, model="names", tools=[{"type": "function", "function": {"name": "f"}}])
    assert forced.status == 400
    assert "no tools" in forced.error["message"]


def test_pictures_need_an_expert_that_sees(gateway: Any) -> None:
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    answer = gateway.chat({"model": "turnout/auto", "messages": [{"role": "user", "content": content}]})
    assert answer.status == 400
    assert "no images" in answer.error["message"]


def test_a_prompt_over_every_context_is_refused_before_anybody_is_asked(gateway: Any) -> None:
    for model in ("turnout/auto", "sums"):
        answer = gateway.ask("long " * 10_000, model=model)
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert gateway.asked() == {"sums": 0, "names": 0}
    assert gateway.ask(NAME + " x" * 10_000).headers["x-turnout-expert"] == "sums"


def test_a_conversation_keeps_its_expert(gateway: Any) -> None:
    messages = [{"role": "user", "content": SUM}]
    first = gateway.chat({"model": "sums", "messages": messages})
    messages += [{"role": "assistant", "content": "48"}, {"role": "user", "content": NAME}]
    second = gateway.chat({"model": "turnout/auto", "messages": messages})
    traces = [gateway.trace(answer.headers["x-turnout-trace"]) for answer in (first, second)]
    assert traces[0].session == traces[1].session
    assert second.headers["x-turnout-reason"] == "routed", "the gain exceeds the margin, so the expert changes"
    stranger = gateway.chat({"model": "turnout/auto", "messages": [{"role": "user", "content": "and you?"}, *messages]})
    assert gateway.trace(stranger.headers["x-turnout-trace"]).session != traces[0].session


def test_a_conversation_stays_within_the_margin(start: Any) -> None:
    gateway = start(router={"switch_margin": 10.0})
    for headers in ({}, {"x_turnout_session": "s1"}):
        messages = [{"role": "user", "content": SUM}]
        gateway.chat({"model": "turnout/auto", "messages": messages}, **headers)
        messages += [{"role": "assistant", "content": "48"}, {"role": "user", "content": NAME}]
        answer = gateway.chat({"model": "turnout/auto", "messages": messages}, **headers)
        assert (answer.headers["x-turnout-expert"], answer.headers["x-turnout-reason"]) == ("sums", "kept")
    assert gateway.trace(answer.headers["x-turnout-trace"]).session == "s1"


def test_a_name_of_megabytes_is_no_model(gateway: Any) -> None:
    answer = gateway.ask(SUM, model="m" * 3_000_000)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert len(answer.body) < 1000
    assert len(gateway.trace(answer.headers["x-turnout-trace"]).requested) == 200


def test_a_conversations_name_is_kept_within_bounds(gateway: Any) -> None:
    body = {"model": "turnout/auto", "messages": [{"role": "user", "content": SUM}]}
    for answer in (
        gateway.chat({**body, "metadata": {"session_id": "s" * 100_000}}),
        gateway.chat(body, x_turnout_session="s" * 1000),
    ):
        assert gateway.trace(answer.headers["x-turnout-trace"]).session == "s" * 200


@pytest.mark.parametrize(
    "script",
    [
        Script(refuse=True),
        Script(status=503, text="overloaded"),
        Script(status=429, text="slow down"),
        Script(status=401, text="bad key"),
        Script(garbage=True),
        Script(cut_after=0),
    ],
    ids=["refuses", "503", "429", "401", "garbage", "cut"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_another_expert_answers_where_the_first_fails_before_its_first_byte(
    gateway: Any, script: Script, stream: bool
) -> None:
    gateway.script(sums=script)
    retries = gateway.metric('turnout_retries_total{expert="names"}')
    answer = gateway.ask(SUM, stream=stream)
    assert (answer.status, answer.headers["x-turnout-expert"]) == (200, "names")
    assert gateway.asked() == {"sums": 1, "names": 1}
    trace = gateway.trace(answer.headers["x-turnout-trace"])
    assert (trace.decision.expert, trace.expert) == ("sums", "names")
    assert [bool(call.error) for call in trace.calls] == [True, False]
    assert gateway.metric('turnout_retries_total{expert="names"}') == retries + 1


def test_a_cut_whole_answer_is_asked_for_elsewhere(gateway: Any) -> None:
    gateway.script(sums=Script(cut_after=1))
    assert gateway.ask(SUM).headers["x-turnout-expert"] == "names"


def test_nobody_is_there(start: Any) -> None:
    gateway = start(base_urls={"sums": unused_url(), "names": unused_url()})
    answer = gateway.ask(SUM)
    assert (answer.status, answer.error["type"], answer.error["code"]) == (502, "server_error", "upstream_error")
    assert "127.0.0.1" not in answer.error["message"]
    trace = gateway.trace(answer.headers["x-turnout-trace"])
    assert [call.expert for call in trace.calls] == ["sums", "names"]
    assert all(call.error and call.error.startswith("ExpertUnreachable") for call in trace.calls)
    assert (trace.status, trace.expert) == (502, None)
    assert gateway.request("GET", "/healthz").status == 200


def test_the_upstreams_own_refusal_passes_untouched(gateway: Any) -> None:
    refusal = b'{"error": {"message":"bad temperature", "type":"x", "extra": 1}}'
    gateway.script(sums=Script(status=400, raw=refusal))
    answer = gateway.ask(SUM)
    assert (answer.status, answer.body) == (400, refusal)
    assert gateway.asked() == {"sums": 1, "names": 0}


def test_the_last_refusal_is_told_with_its_advice(gateway: Any) -> None:
    limited = Script(status=429, text="slow down", headers={"retry-after": "7", "set-cookie": "a=b"})
    gateway.script(sums=limited, names=limited)
    answer = gateway.ask(SUM, stream=True)
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert "set-cookie" not in answer.headers
    assert answer.json()["error"]["message"] == "slow down"


def test_the_gateways_own_trouble_with_a_key_is_not_the_clients(gateway: Any) -> None:
    gateway.script(sums=Script(status=401, text="Incorrect API key provided: upstream-key"))
    answer = gateway.ask(SUM, model="sums")
    assert answer.status == 502
    assert "upstream-key" not in answer.body.decode()


def test_an_error_page_becomes_an_error(gateway: Any) -> None:
    gateway.script(sums=Script(status=500, raw=b"<html>nginx</html>"))
    answer = gateway.ask(SUM, model="sums")
    assert answer.status == 500
    assert "nginx" not in answer.error["message"]


def test_a_stream_that_breaks_after_its_first_byte_ends_with_an_error_event(gateway: Any) -> None:
    gateway.script(sums=Script("one two three", chunks=3, cut_after=2))
    answer = gateway.ask(SUM, stream=True)
    events = [event for event in answer.body.split(b"\n\n") if event]
    assert answer.status == 200
    assert json.loads(events[-1][6:])["error"]["type"] == "server_error"
    assert b"[DONE]" not in answer.body
    assert gateway.asked() == {"sums": 1, "names": 0}, "what has begun is never asked for twice"
    trace = gateway.trace(answer.headers["x-turnout-trace"])
    assert trace.status == 502
    assert "ExpertError" in trace.calls[0].error
    assert gateway.metric('turnout_broken_answers_total{expert="sums"}') == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_expert_that_stalls_loses_its_turn(start: Any, stream: bool) -> None:
    gateway = start(gateway={"deadline_s": 1.0})
    gateway.script(sums=Script(stall_after=0))
    answer = gateway.ask(SUM, stream=stream)
    assert (answer.status, answer.headers["x-turnout-expert"]) == (200, "names")
    gateway.script(sums=Script(delay_s=30), names=Script(delay_s=30))
    late = gateway.ask(SUM, stream=stream)
    assert (late.status, late.error["code"]) == (504, "timeout")


def test_a_stream_that_stalls_is_cut_at_the_deadline(start: Any) -> None:
    gateway = start(gateway={"deadline_s": 0.5})
    gateway.script(sums=Script("one two three", stall_after=1))
    answer = gateway.ask(SUM, stream=True)
    last = [event for event in answer.body.split(b"\n\n") if event][-1]
    assert json.loads(last[6:])["error"]["code"] == "timeout"


@pytest.mark.parametrize(
    "script", [Script(delay_s=30), Script("one two three", chunk_s=0.2)], ids=["waiting", "streaming"]
)
def test_a_client_that_leaves_takes_its_call_along(start: Any, script: Script) -> None:
    gateway = start()
    gateway.script(sums=script)
    host, port = gateway.url.removeprefix("http://").split(":")
    stream = json.dumps(script.chunk_s > 0)
    body = f'{{"model":"sums","stream":{stream},"messages":[{{"role":"user","content":"x"}}]}}'
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        until(lambda: len(gateway.upstreams["sums"].requests) == 1)
        if script.chunk_s:
            assert client.recv(100)
    until(lambda: gateway.upstreams["sums"].dropped == 1)
    until(lambda: len(gateway.store) == 1)
    (trace,) = gateway.store.rows()
    assert trace.status == 499
    assert gateway.metric("turnout_inflight_requests") == 0


def test_a_client_that_leaves_at_the_last_event_was_served(start: Any) -> None:
    gateway = start()
    events = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    gateway.script(sums=Script(raw=events))
    answer = gateway.ask(SUM, stream=True)
    assert answer.body == events
    assert gateway.trace(answer.headers["x-turnout-trace"]).status == 200


def test_more_than_the_limit_at_once_are_told_to_wait(start: Any) -> None:
    gateway = start(gateway={"max_inflight": 0})
    answer = gateway.ask(SUM)
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")


def test_text_is_kept_only_where_the_configuration_says_so(start: Any, gateway: Any) -> None:
    silent = gateway.trace(gateway.ask("a secret").headers["x-turnout-trace"])
    assert (silent.prompt, silent.response) == (None, None)
    keeping = start(traces={"store": "prompts"})
    keeping.script(sums=Script("the answer"))
    for stream in (False, True):
        kept = keeping.trace(keeping.ask(SUM, stream=stream).headers["x-turnout-trace"])
        assert (kept.prompt, kept.response) == (SUM, "the answer")


def test_the_tools_in_use_are_part_of_what_is_routed(start: Any) -> None:
    keeping = start(traces={"store": "prompts"})
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    loop = [
        {"role": "user", "content": SUM},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "noon"},
    ]
    kept = keeping.trace(keeping.chat({"model": "turnout/auto", "messages": loop}).headers["x-turnout-trace"])
    assert kept.prompt == f"Tools: clock\n\n{SUM}"
