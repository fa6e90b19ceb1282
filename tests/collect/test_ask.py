"""One question to one expert."""

from __future__ import annotations

import json
import math

import pytest

from turnout.collect.ask import Refused, Settings, ask, confidence, most, read, request
from turnout.collect.tasks import Question
from turnout.errors import ConfigError, ExpertError
from turnout.testing.experts import Script, ScriptedExpert
from turnout.types import Arm, How, Limits, Price

QUESTION = Question("t", "2 + 2?", "4", "exact", lambda response: float(response == "4"))
STEPS = Arm(
    "small+steps", model="small", how=How("steps", " Think.", {"top_p": 0.5}), limits=Limits(features=frozenset())
)
SETTINGS = Settings({"*": 96, "*+steps": 256}, top_logprobs=5)
LOGPROBS = b'{"choices":[{"message":{},"logprobs":{"content":[{"logprob":%s},{"logprob":%s}]}}]}'


def test_the_request_carries_the_arms_changes() -> None:
    body = json.loads(request(QUESTION, STEPS, SETTINGS))
    assert body == {
        "messages": [{"role": "user", "content": "2 + 2? Think."}],
        "max_tokens": 256,
        "temperature": 0.0,
        "model": "small",
        "top_p": 0.5,
    }
    direct = json.loads(request(QUESTION, Arm("small"), SETTINGS))
    assert (direct["model"], direct["max_tokens"], direct["logprobs"], direct["top_logprobs"]) == ("small", 96, True, 5)


def test_the_most_a_call_can_cost_is_above_what_it_does_cost() -> None:
    arm = Arm("a", price=Price(1.0, 10.0))
    body = request(QUESTION, arm, SETTINGS)
    assert most(body, arm, SETTINGS) >= arm.price.cost(len(body), 96)
    longer = Arm("a", price=Price(1.0, 10.0), how=How("long", "", {"max_tokens": 4000}))
    assert most(request(QUESTION, longer, SETTINGS), longer, SETTINGS) >= arm.price.cost(0, 4000)


@pytest.mark.parametrize("limits", [{"*": 0}, {"b*": 5}])
def test_a_limit_is_needed(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="max_tokens"):
        Settings(limits).limit("a")


async def test_an_answer_is_read_and_priced() -> None:
    expert = ScriptedExpert(Arm("a", price=Price(1.0, 2.0)), Script("4"))
    ticks = iter([1.0, 3.5])
    answer = await ask(expert, QUESTION, request(QUESTION, expert.arm, SETTINGS), SETTINGS, lambda: next(ticks))
    assert (answer.response, answer.latency, answer.finish_reason) == ("4", 2.5, "stop")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.guessed) == (10, 5, False)
    assert answer.cost == pytest.approx(20e-6)
    assert expert.closed == 1


async def test_tokens_are_guessed_where_none_are_reported() -> None:
    expert = ScriptedExpert(Arm("a", price=Price(1.0, 2.0)), Script("x" * 40, usage=None))
    answer = await ask(expert, QUESTION, request(QUESTION, expert.arm, SETTINGS), SETTINGS, lambda: 0.0)
    assert (answer.completion_tokens, answer.guessed) == (10, True)
    assert answer.cost > 0


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        (Script("slow down", status=429), Refused, "a answered 429: .*slow down"),
        (Script(garbage=True), ExpertError, "a answered garbage"),
        (Script(raw=b'{"choices": []}'), ExpertError, "without choices"),
        (Script(raw=b'{"choices": [{"message": {"content": 7}}]}'), ExpertError, "garbage"),
        (Script(raw=b"\xff\xfe"), ExpertError, "garbage"),
        (Script(raw=LOGPROBS % (b"-1e308", b"-1e308")), ExpertError, "garbage for log-probabilities"),
        (Script(cut_after=0), ExpertError, "broke off"),
    ],
)
async def test_failures_are_errors_and_never_scores(script: Script, kind: type[Exception], message: str) -> None:
    expert = ScriptedExpert("a", script)
    with pytest.raises(kind, match=message):
        await ask(expert, QUESTION, request(QUESTION, expert.arm, SETTINGS), SETTINGS, lambda: 0.0)
    assert expert.closed == 1


def test_an_empty_message_is_an_answer() -> None:
    assert read(b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}') == ("", "length", None)


def test_confidence_from_alternatives() -> None:
    half = math.log(0.5)
    sure = {"logprob": 0.0, "top_logprobs": [{"logprob": 0.0}, {"logprob": -1e9}]}
    torn = {"logprob": half, "top_logprobs": [{"logprob": half}, {"logprob": half}]}
    found = confidence([torn, sure])
    assert found["entropy_first"] == pytest.approx(math.log(2))
    assert found["entropy_mean"] == pytest.approx(math.log(2) / 2)
    assert (found["logprob_mean"], found["logprob_min"]) == (half / 2, half)
    assert confidence([{"logprob": None}]) == {}


def test_log_probabilities_are_read_from_a_completion() -> None:
    document = {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"logprob": -0.25}]}}]}
    assert read(json.dumps(document).encode())[2] == {"logprob_mean": -0.25, "logprob_min": -0.25}


@pytest.mark.parametrize(
    "content", [["x"], 5, [{"logprob": -1, "top_logprobs": 5}], [{"logprob": -1, "top_logprobs": [{"a": 1}, {"b": 2}]}]]
)
def test_garbage_for_log_probabilities_is_a_failure_of_the_expert(content: object) -> None:
    document = {"choices": [{"message": {"content": "4"}, "logprobs": {"content": content}}]}
    with pytest.raises(ExpertError, match="garbage for log-probabilities"):
        read(json.dumps(document).encode(), "a")
