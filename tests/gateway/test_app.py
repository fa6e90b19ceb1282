"""Every bad input: the right status, OpenAI's error shape, and a gateway that goes on."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from turnout.store.traces import TraceStore
from turnout.testing.experts import Script

HELLO = {"model": "turnout/auto", "messages": [{"role": "user", "content": "hi"}]}
BAD_BODIES = {
    "empty": (b"", None),
    "no JSON": (b"{model", None),
    "cut": (b'{"model": "turnout/auto", "messages": [', None),
    "not UTF-8": (b'{"model": "turnout/auto", "messages": [{"role": "user", "content": "\xff"}]}', None),
    "array": (b"[]", None),
    "too deep": (b'{"model": "turnout/auto", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "no model": (b'{"messages": [{"role": "user", "content": "hi"}]}', "model"),
    "no messages": (b'{"model": "turnout/auto"}', "messages"),
    "empty messages": (b'{"model": "turnout/auto", "messages": []}', "messages"),
    "messages is text": (b'{"model": "turnout/auto", "messages": "hi"}', "messages"),
    "model is a number": (b'{"model": 3, "messages": []}', "model"),
    "unknown role": (b'{"model": "sums", "messages": [{"role": "boss", "content": ""}]}', "messages[0].role"),
    "content is a number": (b'{"model": "sums", "messages": [{"role": "user", "content": 3}]}', "messages[0].content"),
    "stream is text": (b'{"model": "sums", "stream": "yes", "messages": []}', "stream"),
    "max_tokens is text": (b'{"model": "sums", "max_tokens": "9", "messages": []}', "max_tokens"),
    "tools is an object": (b'{"model": "sums", "tools": {}, "messages": []}', "tools"),
    "n is a fraction": (b'{"model": "sums", "n": 1.5, "messages": []}', "n"),
}


@pytest.mark.parametrize(("body", "param"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_body_is_a_400_that_names_the_parameter(gateway: Any, body: bytes, param: str | None) -> None:
    answer = gateway.chat(body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["param"] == param
    assert gateway.asked() == {"sums": 0, "names": 0}
    assert gateway.trace(answer.headers["x-turnout-trace"]).status == 400
    assert gateway.ask("hi").status == 200


def test_a_repeated_key_is_refused(gateway: Any) -> None:
    answer = gateway.chat(b'{"model": "sums", "model": "names", "messages": [{"role": "user", "content": "hi"}]}')
    assert (answer.status, answer.error["code"]) == (400, "repeated_key")


def test_an_unknown_model_is_told_the_nearest(gateway: Any) -> None:
    answer = gateway.ask("hi", model="summs")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert "did you mean 'sums'" in answer.error["message"]


def test_a_large_body_is_refused_unread(gateway: Any) -> None:
    answer = gateway.chat(json.dumps({**HELLO, "x": "y" * 20_000_000}).encode())
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert "10 MB" in answer.error["message"]


def test_a_large_body_without_a_length_is_cut_off(gateway: Any) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        client.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        chunk = b"x" * 1_000_000
        for _ in range(11):
            client.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_only_json_is_taken(gateway: Any, kind: str) -> None:
    answer = gateway.chat(json.dumps(HELLO).encode(), content_type=kind)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert gateway.chat(HELLO, content_type="application/json; charset=utf-8").status == 200


def test_unknown_paths_and_methods(gateway: Any) -> None:
    unknown = gateway.request("GET", "/v1/model")
    assert (unknown.status, unknown.error["code"]) == (404, "unknown_url")
    assert "/v1/models" in unknown.error["message"]
    wrong = gateway.request("GET", "/v1/chat/completions")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert wrong.error["code"] == "method_not_allowed"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8790", ""])
def test_another_host_is_misdirected(gateway: Any, host: str) -> None:
    answer = gateway.chat(HELLO, host=host)
    assert (answer.status, answer.error["code"]) == (421, "misdirected_request")
    assert gateway.asked() == {"sums": 0, "names": 0}


def test_names_of_this_machine_are_served(gateway: Any) -> None:
    for host in ("localhost", "LOCALHOST:1234", "[::1]:8790", "127.0.0.1"):
        assert gateway.request("GET", "/healthz", headers={"host": host}).status == 200


def test_pages_of_other_sites_are_refused(gateway: Any) -> None:
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec_fetch_site": "cross-site"},
    ):
        answer = gateway.chat(HELLO, **headers)
        assert (answer.status, answer.error["code"]) == (403, "cross_site_request")
    assert gateway.chat(HELLO, origin=gateway.url).status == 200
    assert gateway.request("OPTIONS", "/v1/chat/completions", headers={"origin": "https://evil.example"}).status == 403


def test_an_allowed_origin_may_read(start: Any) -> None:
    gateway = start(gateway={"allowed_origins": ("https://app.example",)})
    answer = gateway.chat(HELLO, origin="https://app.example")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    preflight = gateway.request("OPTIONS", "/v1/chat/completions", headers={"origin": "https://app.example"})
    assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (204, "GET, POST")
    assert "access-control-allow-origin" not in gateway.chat(HELLO).headers


def test_the_access_key(start: Any) -> None:
    gateway = start(gateway={"access_key_env": "KEY"}, environ={"KEY": "opensesame"})
    for given in ({}, {"authorization": "Bearer wrong-key"}, {"authorization": "Basic opensesame"}):
        answer = gateway.chat(HELLO, **given)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert not any(secret in answer.body for secret in (b"wrong-key", b"opensesame"))
    assert gateway.request("GET", "/metrics").status == 401
    assert gateway.request("GET", "/healthz").status == 200
    assert gateway.chat(HELLO, authorization="Bearer opensesame").status == 200
    page = gateway.request("GET", "/metrics", headers={"authorization": "Bearer opensesame"}).body
    assert b'turnout_refused_total{status="401"} 4.0' in page
    assert b"opensesame" not in page


def test_models_are_listed_and_described(gateway: Any) -> None:
    models = gateway.request("GET", "/v1/models").json()
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["turnout/auto", "sums", "names"]
    assert gateway.request("GET", "/v1/models/turnout/auto").json()["id"] == "turnout/auto"
    assert gateway.request("GET", "/v1/models/turnout%2Fauto").json()["id"] == "turnout/auto"
    unknown = gateway.request("GET", "/v1/models/nam")
    assert (unknown.status, unknown.error["code"], unknown.error["param"]) == (404, "model_not_found", "model")
    assert "'names'" in unknown.error["message"]


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/models", "/v1/models/names"])
def test_head_is_get_without_its_body(gateway: Any, path: str) -> None:
    head = gateway.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == gateway.request("GET", path).headers["content-type"]
    assert gateway.request("HEAD", "/v1/chat/completions").status == 405
    assert gateway.request("POST", path, b"{}").headers["allow"] == "GET, HEAD"


def test_feedback_reaches_the_trace(gateway: Any) -> None:
    trace = gateway.ask("hi").headers["x-turnout-trace"]
    answer = gateway.request(
        "POST", "/v1/feedback", json.dumps({"trace": trace, "score": 0.25, "label": "thumb"}).encode()
    )
    assert (answer.status, answer.json()["score"]) == (200, 0.25)
    kept = gateway.trace(trace)
    assert (kept.score, kept.label) == (0.25, "thumb")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b'{"score": 1}', 400, "trace"),
        (b'{"trace": "tr_1", "score": "good"}', 400, "score"),
        (b'{"trace": "tr_1", "score": 1.5}', 400, "score"),
        (b'{"trace": "tr_1", "score": NaN}', 400, None),
        (b'{"trace": "tr_1", "score": 1, "lable": "x"}', 400, None),
        (b'{"trace": "tr_1", "score": 1}', 404, "trace"),
    ],
)
def test_bad_feedback(gateway: Any, body: bytes, status: int, param: str | None) -> None:
    answer = gateway.request("POST", "/v1/feedback", body)
    assert (answer.status, answer.error["param"]) == (status, param)


def test_metrics_tell_what_happened(start: Any) -> None:
    gateway = start()
    gateway.ask("add item 7 + 41")
    gateway.script(sums=Script(status=503))
    gateway.ask("add item 7 + 41")
    gateway.chat(b"{")
    assert gateway.metric('turnout_requests_total{expert="sums",reason="routed",status="200"}') == 1
    assert gateway.metric('turnout_requests_total{expert="names",reason="routed",status="200"}') == 1
    assert gateway.metric('turnout_requests_total{expert="none",reason="none",status="400"}') == 1
    assert gateway.metric('turnout_upstream_errors_total{error="ExpertError",expert="sums"}') == 1
    assert gateway.metric('turnout_tokens_total{expert="sums",kind="completion"}') == 5
    assert gateway.metric('turnout_cost_dollars_total{expert="sums"}') == pytest.approx(70e-6)
    assert gateway.metric('turnout_request_seconds_count{expert="sums"}') == 1
    assert gateway.metric("turnout_inflight_requests") == 0
    gateway.store.flush()
    assert gateway.metric("turnout_traces_written_total") == 3


def test_traces_that_cannot_be_written_cost_no_request(
    start: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("")
    gateway = start(store=TraceStore(tmp_path / "a file" / "traces.sqlite"))
    assert [gateway.ask("hi").status for _ in range(5)] == [200] * 5
    answer = gateway.request("POST", "/v1/feedback", b'{"trace": "tr_1", "score": 1}')
    assert answer.status == 503
    assert gateway.metric("turnout_traces_dropped_total") == 5
    assert sum("dropped" in record.message for record in caplog.records) == 1


def test_an_overflowing_store_costs_no_request(start: Any, tmp_path: Any) -> None:
    gateway = start(store=TraceStore(tmp_path / "traces.sqlite", capacity=0))
    assert [gateway.ask("hi").status for _ in range(3)] == [200] * 3
    assert gateway.metric("turnout_traces_dropped_total") == 3


def test_a_defect_is_a_500_in_the_same_shape_and_in_the_log(
    start: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(TraceStore):
        def put(self, trace: object) -> bool:
            raise ZeroDivisionError("a defect")

    gateway = start(store=Broken(tmp_path / "traces.sqlite"))
    answer = gateway.ask("hi")
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert "ZeroDivisionError" not in answer.body.decode()
    assert "ZeroDivisionError" in caplog.text


def test_a_client_that_does_not_send_its_body_is_not_waited_for(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout.gateway.app.BODY_S", 0.2)
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        client.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 408")
    assert gateway.ask("hi").status == 200


def test_under_many_clients_and_failing_experts_nothing_is_lost_or_doubled(start: Any) -> None:
    gateway = start()
    sometimes = (Script(), Script(status=503), Script(), Script(refuse=True), Script(cut_after=0), Script()) * 100
    gateway.script(sums=sometimes, names=sometimes)

    def one(n: int) -> Any:
        return gateway.ask(f"{('add', 'name')[n % 2]} item {n}", stream=n % 3 == 0)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(one, range(120)))
    gateway.store.flush()
    traces = {trace.id: trace for trace in gateway.store.rows()}
    assert len(traces) == 120
    assert {answer.headers["x-turnout-trace"] for answer in answers} == set(traces)
    assert all(traces[a.headers["x-turnout-trace"]].status == a.status for a in answers)
    assert sum(len(trace.calls) for trace in traces.values()) == sum(gateway.asked().values())
    assert {answer.status for answer in answers} <= {200, 502, 503}
    assert gateway.metric("turnout_inflight_requests") == 0
