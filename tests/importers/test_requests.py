"""LiteLLM and OpenAI-style logs of requests: no scores of their own, failures, caches, batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import LogError
from turnout.importers import _chat, load
from turnout.importers.litellm import LiteLLM
from turnout.importers.openai import OpenAI

Write = Callable[[str, Any], Path]


def payload(name: str, model: str = "m", text: str = "hi", **changes: Any) -> dict[str, Any]:
    """A LiteLLM payload."""
    made = {"id": name, "call_type": "acompletion", "status": "success", "model": model, "response_cost": 0.01}
    made |= {"messages": [{"role": "user", "content": text}], "startTime": 10.0, "endTime": 12.5, "response_time": 0.1}
    return {**made, "response": {"choices": [{"message": {"content": "yes"}}]}, **changes}


def test_litellm_takes_scores_from_a_field_or_a_file(write: Write) -> None:
    rows = [payload("a", metadata={"thumbs": 1}), payload("b", "n", metadata={"thumbs": 0})]
    file = write("log.jsonl", rows)
    with pytest.raises(LogError, match=r"how well; no score at score, metadata\.score.*`score=PATH`.*`scores=FILE`"):
        load(file)
    log, _ = load(file, options={"score": "metadata.thumbs"})
    assert log.matrix().tolist() == [[1.0, 0.0]]
    assert log.outcomes["latency"].to_list() == [2.5, 2.5]
    for name, grades in (("g.jsonl", [{"id": "b", "score": 0.5}]), ("g.csv", "request_id,score\nb,0.5\n")):
        log, report = load(file, options={"scores": str(write(name, grades))})
        assert (log.experts, report.dropped) == (("n",), {"no score": 1})
    with pytest.raises(LogError, match="a second score for 'b'"):
        load(file, options={"scores": str(write("g.jsonl", [{"id": "b", "score": 1}, {"id": "b", "score": 0}]))})
    with pytest.raises(LogError, match="line 1: an id is missing"):
        load(file, options={"scores": str(write("g.jsonl", [{"score": 1}]))})
    with pytest.raises(LogError, match="no score in the file of scores"):
        load(file, options={"scores": str(write("g.jsonl", [{"id": "z", "score": 1}]))})
    with pytest.raises(LogError, match="cannot read"):
        load(file, options={"scores": "absent.jsonl"})


def test_litellm_counts_tokens_itself_or_takes_the_responses(write: Write) -> None:
    reply = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    rows = [payload("a", score=1, response=reply, prompt_tokens=None, completion_tokens=0)]
    log, _ = load(write("log.jsonl", rows))
    outcome = log.outcomes.to_dicts()[0]
    assert (outcome["prompt_tokens"], outcome["completion_tokens"]) == (7, 0)


def test_litellm_drops_what_says_nothing_about_an_expert(write: Write) -> None:
    rows = [payload("a", score=1), payload("b", status="failure"), payload("c", cache_hit=True)]
    rows += [payload("d", call_type="aembedding")]
    _, report = load(write("log.jsonl", rows))
    assert report.dropped == {"the request failed": 1, "answered from a cache": 1, "not a text completion": 1}


def test_litellm_same_conversation_is_one_query_and_the_same_again_a_repeat(write: Write) -> None:
    rows = [payload("a", score=1), payload("b", score=0), payload("c", "n", score=1), payload("a", score=1)]
    log, report = load(write("log.jsonl", rows))
    assert len(log) == 1
    assert report.dropped == {"repeats an earlier row": 1}
    assert log.outcomes["repeats"].to_list() == [[1.0, 0.0], None]
    with pytest.raises(LogError, match=r"line 2: a second row for 'm' .* scores 0, an earlier one 1; remove one"):
        load(write("log.jsonl", [payload("a", score=1), payload("a", score=0)]))


def test_litellm_wrapped_hidden_and_by_group(write: Write, tmp_path: Path) -> None:
    hidden = payload("a", messages="redacted-by-litellm", score=1, model_group="fast")
    write("logs/2025/one.json", {"standard_logging_object": hidden})
    write("logs/2025/two.json", payload("b", score=0, model_group="slow", startTime="2025-01-24 09:20:46.5"))
    log, report = load(tmp_path / "logs", options={"by": "model_group"})
    assert set(log.experts) == {"fast", "slow"}
    assert log.query_ids[0] == "request/a"
    assert "logged without their messages" in report.notes[0]
    assert log.outcomes["latency"].to_list()[1] is None or log.outcomes["latency"].to_list()[1] > 0
    with pytest.raises(LogError, match="the field 'model_group' is missing"):
        load(write("x.jsonl", [payload("a", score=1)]), options={"by": "model_group"})


def test_litellm_redacted_messages_are_not_one_conversation(write: Write) -> None:
    hidden = [{"role": "user", "content": "redacted-by-litellm"}]
    reply = {"choices": [{"message": {"content": "redacted-by-litellm"}}]}
    log, report = load(write("log.jsonl", [payload(n, messages=hidden, response=reply, score=1) for n in "ab"]))
    assert log.query_ids == ["request/a", "request/b"]
    assert "logged without their messages" in report.notes[0]
    assert not {"response", "prompt"} & {*log.outcomes.columns, *log.queries.columns}


def test_litellm_a_text_as_input_is_a_conversation(write: Write) -> None:
    rows = [payload(n, model, messages="hi", call_type="aresponses", score=1) for n, model in (("a", "m"), ("b", "n"))]
    log, report = load(write("log.jsonl", rows))
    assert (log.texts, report.outcomes, report.notes) == (["hi"], 2, ())


def test_litellm_responses_are_told_apart_by_their_instructions(write: Write) -> None:
    replies = [{"output": [], "instructions": text} for text in ("In French.", "In French.", "In German.")]
    rows = [payload(n, response=r, call_type="aresponses", score=1) for n, r in zip("abc", replies, strict=True)]
    _, report = load(write("log.jsonl", rows))
    assert (report.queries, report.repeated) == (2, 1)


def test_litellm_a_cost_that_could_not_be_told_is_missing(write: Write) -> None:
    unknown = {"response_cost": 0.0, "response_cost_failure_debug_info": {"error_str": "this model isn't mapped yet"}}
    rows = [payload("a", score=1), payload("b", "n", score=1, **unknown), payload("c", "o", score=1, response_cost=0.0)]
    log, _ = load(write("log.jsonl", rows))
    assert log.outcomes["cost"].to_list() == [0.01, None, 0.0]


def test_litellm_anthropic_messages_are_text(write: Write) -> None:
    reply = {"type": "message", "content": [{"type": "text", "text": "yes"}]}
    reply["usage"] = {"input_tokens": 7, "output_tokens": 3}  # type: ignore[assignment]
    rows = [payload("a", call_type="anthropic_messages", response=reply, score=1)]
    outcome = load(write("log.jsonl", rows))[0].outcomes.to_dicts()[0]
    assert (outcome["response"], outcome["prompt_tokens"], outcome["completion_tokens"]) == ("yes", 7, 3)


def exchange(model: str = "m", text: str = "hi", **changes: Any) -> dict[str, Any]:
    """A line of request and response."""
    reply = {"id": "c1", "model": f"{model}-2024", "choices": [{"message": {"content": [{"text": "yes"}]}}]}
    request = {"model": model, "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}]}
    return {"request": request, "response": {**reply, "usage": {"prompt_tokens": 3}}, "score": 1, **changes}


def test_openai_reads_three_interfaces(write: Write) -> None:
    old = {"request": {"model": "c", "prompt": "hi"}, "response": {"choices": [{"text": "yes"}]}, "score": 0}
    output = [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "yes"}]}]
    new = {"request": {"model": "r", "input": "hi"}, "response": {"output": output}, "score": 1}
    new["response"]["usage"] = {"input_tokens": 8, "output_tokens": 2}  # type: ignore[index]
    log, _ = load(write("log.jsonl", [old, new, exchange()]))
    assert log.outcomes["response"].to_list() == ["yes"] * 3
    assert log.experts == ("c", "r", "m")
    assert len(log) == 2  # the chat has a system message
    assert log.matrix("prompt_tokens")[0].tolist()[1] == 8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"instructions": "In French."}, {"instructions": "In German."}),
        ({"previous_response_id": "r1"}, {"previous_response_id": "r2"}),
        ({"input": [{"type": "function_call_output", "output": "1"}]}, {"input": [{"type": "x", "output": "2"}]}),
        ({"input": None, "prompt": {"id": "p", "variables": {"x": 1}}}, {"input": None, "prompt": {"id": "p"}}),
    ],
)
def test_openai_responses_are_told_apart_by_more_than_their_input(
    write: Write, one: dict[str, Any], other: dict[str, Any]
) -> None:
    rows = [exchange(request={"model": "m", "input": "hi", **each}) for each in (one, one, other)]
    _, report = load(write("log.jsonl", rows))
    assert (report.queries, report.repeated) == (2, 1)


def test_openai_failures_are_dropped(write: Write) -> None:
    bad = [{"response": None}, {"response": {"error": {"message": "no"}}}, {"error": {"code": 1}}]
    _, report = load(write("log.jsonl", [exchange(), *(exchange(**changes) for changes in bad)]))
    assert report.dropped == {"the request failed": 3}
    several = exchange(request={"model": "m", "prompt": ["one", "two"]})  # a choice per prompt: the first is no answer
    _, report = load(write("log.jsonl", [exchange(), several]))
    assert report.dropped == {"several prompts in one request": 1}
    with pytest.raises(LogError, match="line 1: the request has neither messages, input nor prompt; fields: model"):
        load(write("log.jsonl", [{**exchange(), "request": {"model": "m"}}]))
    with pytest.raises(LogError, match="line 1: the field 'response' is missing"):
        load(write("log.jsonl", [{"request": {}}]), format="openai")


def batch(name: str, model: str, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A batch's input and output line."""
    one = exchange(model, text)
    asked = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": one["request"]}
    done = {"id": f"batch_{name}", "custom_id": name, "error": None}
    return asked, {**done, "response": {"status_code": 200, "body": one["response"]}}


def test_openai_batches_are_joined_and_graded_by_id(write: Write, tmp_path: Path) -> None:
    pairs = [batch("q1", "small", "hi"), batch("q1", "large", "hi"), batch("q2", "small", "why")]
    write("b/in.jsonl", [asked for asked, _ in pairs])
    write("b/out.jsonl", [done for _, done in pairs])
    grades = write("grades.csv", "custom_id,score\nq1,1\nq2,0.5\n")
    log, _ = load(tmp_path / "b", options={"scores": str(grades)})
    assert set(log.experts) == {"small", "large"}
    assert sorted(log.texts) == ["hi", "why"]
    with pytest.raises(LogError, match="no request with the custom_id 'q1'; give the batch's input file too"):
        load(tmp_path / "b" / "out.jsonl", options={"scores": str(grades)})
    with pytest.raises(LogError, match="a batch's input alone"):
        load(tmp_path / "b" / "in.jsonl", options={"scores": str(grades)})
    write("b/in.jsonl", [pairs[0][0], batch("q1", "small", "something else")[0], *(a for a, _ in pairs[1:])])
    with pytest.raises(LogError, match="the custom_id 'q1' stands for several requests"):
        load(tmp_path / "b", options={"scores": str(grades)})


def test_samples_hold_every_kind_of_line(tmp_path: Path) -> None:
    log, report = load(OpenAI().write_sample(tmp_path))
    assert (len(log), report.kept, log.experts) == (2, 4, ("large", "small"))
    log, report = load(LiteLLM().write_sample(tmp_path / "requests"))
    assert report.dropped == {"the request failed": 1}
    assert log.outcomes["cost"].to_list() == [0.0002] * 3


def test_what_a_router_reads_is_the_last_user_turn() -> None:
    turns = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "x"}]
    assert _chat.asked([*turns, {"role": "user", "content": [{"type": "text", "text": "last"}]}]) == "last"
    assert _chat.asked([{"role": "system", "content": "only"}]) == "only"
    assert [_chat.asked(empty) for empty in (None, [], "", [{"role": "user"}], 3)] == [None] * 5
    assert _chat.identity(turns) != _chat.identity(turns[:1])


def test_surrogates_and_byte_order_marks_do_no_harm(write: Write) -> None:
    text = json.dumps(exchange(text="half \ud800 pair \ud83d\ude00"))
    log, _ = load(write("log.jsonl", "\ufeff" + text + "\n\n"))
    assert log.texts == ["half � pair 😀"]
