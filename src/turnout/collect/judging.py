"""A model judges collected answers: asked at temperature 0, kept apart from the answers, within the same cap on spend.

A folder keeps what judges said in `judgements.jsonl`. Each line names the judge and a digest of how it was asked, so
that another judge, or another rubric, judges anew and nothing else is asked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from turnout.collect.answers import Answer, Judgement
from turnout.collect.ask import TEMPLATE_TOKENS, exchange
from turnout.collect.graders.judge import Judge
from turnout.collect.session import GIVE_UP_AFTER, Session, at_once, attempt, tries
from turnout.collect.tasks import Question
from turnout.experts.patch import patch
from turnout.types import Expert

NAME = "judge"  # the grader that rows name


@dataclass(frozen=True, slots=True)
class Judging:
    """Who judges and how. `also` has it judge what other graders scored too, in a column beside the score.

    `body` holds further fields of each request.
    """

    expert: Expert
    grader: Judge
    also: bool = False
    max_tokens: int = 256
    body: Mapping[str, Any] = field(default_factory=dict)
    deadline_s: float = 600.0

    @property
    def key(self) -> str:
        """The judge's id and a digest of everything that its judgements depend on."""
        arm, grader = self.expert.arm, self.grader
        asked = [arm.model, arm.how.suffix, self._fields, self.max_tokens, grader.prompt("", "", ("",))]
        digest = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return f"{arm.id}/{digest[:12]}"

    @property
    def _fields(self) -> dict[str, Any]:
        return {**self.expert.arm.how.body, **self.body}

    def wants(self, question: Question) -> bool:
        """Whether answers to a question are judged."""
        return question.score is None or self.also

    def request(self, question: Question, answer: Answer) -> bytes:
        """The JSON body, changed the way serving changes it."""
        said = self.grader.prompt(question.prompt, answer.response, question.target)
        body = {
            "messages": [{"role": "user", "content": said.encode("utf-8", "replace").decode()}],
            "max_tokens": self.max_tokens,
            "temperature": 0.0,
        }
        arm = self.expert.arm
        return patch(orjson.dumps(body), model=arm.model or arm.id, suffix=arm.how.suffix, fields=self._fields)

    def most(self, body: bytes) -> float:
        """The most that a judgement can cost, in US dollars: no tokenizer makes more tokens than there are bytes."""
        fields = orjson.loads(body)
        limit = max(fields.get(name) or 0 for name in ("max_tokens", "max_completion_tokens"))
        return self.expert.arm.price.cost(len(body) + TEMPLATE_TOKENS, limit)


async def judge(session: Session, judging: Judging, questions: Sequence[Question], concurrency: int) -> None:
    """Have every answer judged that is not yet, an empty one without asking. Failures are kept and tried again by the
    next run; a judge that only fails is asked no more."""
    known = {question.id: question for question in questions if judging.wants(question)}
    key, folder = judging.key, session.folder
    todo = [
        (known[answer.query_id], answer)
        for answer in folder.answers.values()
        if answer.query_id in known and (answer.query_id, answer.expert, key) not in folder.judgements
    ]
    session.progress.unjudged = len(todo)
    work = iter(todo)
    in_a_row = 0

    async def worker() -> None:
        nonlocal in_a_row
        for question, answer in work:
            if session.progress.capped or in_a_row >= GIVE_UP_AFTER:
                return
            found = await _judged(session, judging, question, answer)
            if found is None:
                session.progress.capped = True
                return
            in_a_row = in_a_row + 1 if found.error else 0
            _count(session, found)

    await at_once(worker, concurrency)


def _count(session: Session, found: Judgement) -> None:
    progress = session.progress
    progress.spent = session.budget.spent
    progress.judging += found.cost
    if found.error:
        progress.judge_failed = found.error
    else:
        progress.judged += 1
        progress.unjudged -= 1
    session.watch(progress)


async def _judged(session: Session, judging: Judging, question: Question, answer: Answer) -> Judgement | None:
    """A judgement or a failure, kept; None at the cap on spend."""
    pair = partial(Judgement, query_id=answer.query_id, expert=answer.expert, judge=judging.key)
    folder = session.folder
    if not answer.response.strip():
        found = pair(score=0.0, said="(no answer)")
        folder.add_judgement(found)
        return found
    body = judging.request(question, answer)
    most = judging.most(body)

    async def once() -> tuple[Judgement, bool]:
        folder.begin_judgement(pair(cost=most))
        found, again = await attempt(
            _asked(judging, body, pair, session.clock),
            lambda error, cost: pair(error=f"judge {judging.expert.arm.id} did not answer: {error}", cost=cost),
            session.budget,
            most,
        )
        folder.add_judgement(found)
        return found, again

    return await tries(once, session.budget, most, session.sleep)


async def _asked(
    judging: Judging, body: bytes, pair: Callable[..., Judgement], clock: Callable[[], float]
) -> Judgement:
    """What the judge says, paid for whether or not it can be read. Raises ExpertError."""
    found = await exchange(judging.expert, body, judging.deadline_s, clock)
    score = judging.grader.read(found.text)
    made = partial(
        pair,
        said=found.text,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cost=found.cost,
        latency=found.latency,
    )
    if score is None:
        wanted = f"`Score: N` with N from 0 to {judging.grader.scale}"
        return made(error=f"judge {judging.expert.arm.id} must end with {wanted}, said {found.text[-80:]!r}")
    return made(score=score)
