"""The shipped router and the recipe that makes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from turnout.collect.tasks import GYM, load
from turnout.experts import embedded
from turnout.outcomes import OutcomeLog
from turnout.routers import Router, shipped_path
from turnout.types import Arm, Request

RECIPE = Path(__file__).parents[2] / "recipes" / "embedded"
MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b")
ASKED = ("What is the capital of Peru?", "Write a Python function that adds two numbers.", "What is 12 times 7?", "")

recipe = pytest.mark.skipif(not RECIPE.is_dir(), reason="an installed package has no recipes")


@pytest.fixture(scope="module")
def shipped() -> Router:
    return Router.load(shipped_path())


def test_it_is_small_and_knows_the_embedded_experts(shipped: Router) -> None:
    assert sum(file.stat().st_size for file in shipped_path().iterdir()) <= 2_000_000
    arms = embedded.arms(MODELS, 4096)
    assert set(shipped.experts) == {arm.id for arm in arms}
    prices = {arm.id: (arm.price.input, arm.price.output) for arm in arms}
    assert {arm.id: (arm.price.input, arm.price.output) for arm in shipped.arms} == prices


@pytest.mark.parametrize("models", [MODELS, MODELS[:1], MODELS[1:], (*MODELS, "qwen2.5-coder-1.5b")])
def test_it_serves_any_part_of_the_pool(shipped: Router, models: tuple[str, ...]) -> None:
    arms = embedded.arms(models, 4096)
    bound = shipped.bind(arms)
    for text in ASKED:
        decision = bound.decide(Request(text), seed=1)
        assert decision.expert in {arm.id for arm in arms}
        assert decision.reason in {"routed", "abstained", "only"}


def test_tools_rule_out_thinking_in_steps(shipped: Router) -> None:
    bound = shipped.bind(embedded.arms(MODELS, 4096))
    for text in ASKED:
        assert not bound.decide(Request(text, needs=frozenset({"tools"})), seed=1).expert.endswith("+steps")


def test_strangers_are_not_pretended_to_be_known(shipped: Router) -> None:
    bound = shipped.bind([Arm("a"), Arm("b")], "b")
    decision = bound.decide(Request("hello"), seed=1)
    assert (decision.expert, decision.reason) == ("b", "unfitted")


@recipe
def test_the_questions_are_what_their_script_writes() -> None:
    before = (RECIPE / "questions.jsonl").read_bytes()
    code = (
        "import runpy, sys, pathlib; made = []; "
        "pathlib.Path.write_text = lambda self, text, **_: made.append(text); "
        "runpy.run_path(sys.argv[1], run_name='__main__'); sys.stdout.buffer.write(made[0].encode())"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, str(RECIPE / "make_questions.py")], capture_output=True, check=True
    )
    assert made.stdout == before


@recipe
def test_every_target_answers_its_own_question() -> None:
    for question in load([str(RECIPE / "questions.jsonl")]):
        first = question.target if isinstance(question.target, str) else question.target[0]
        if question.grader != "regex":
            assert question.score(first) == 1.0, question


@recipe
def test_the_log_is_of_these_questions_and_graded_by_these_graders() -> None:
    log = OutcomeLog.read(RECIPE / "log")
    assert set(log.experts) <= {arm.id for arm in embedded.arms(MODELS, 4096)}
    known = {question.id: question for question in load([str(RECIPE / "questions.jsonl")])}
    graders = dict(zip(log.queries["query_id"], log.queries["grader"], strict=True))
    assert all(name in known or graders[name] == GYM for name in log.query_ids)
    scored = 0
    for name, response, score in log.outcomes.select("query_id", "response", "score").iter_rows():
        if name in known:
            assert known[name].score(response) == score
            scored += 1
    assert scored > 100


@recipe
def test_the_shipped_router_is_what_the_log_gives(shipped: Router) -> None:
    log = OutcomeLog.read(RECIPE / "log")
    assert shipped.summary["log"]["fingerprint"] == log.fingerprint()
