"""Ask every expert every question: concurrent, resumable, within a cap on spend; then write the outcome log."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from turnout.collect.answers import Answer, Folder
from turnout.collect.ask import Settings, ask, most, request
from turnout.collect.budget import Budget
from turnout.collect.judging import NAME, Judging, judge
from turnout.collect.session import GIVE_UP_AFTER, Progress, Session, at_once, attempt, tries
from turnout.collect.tasks import Question
from turnout.errors import ConfigError, LogError
from turnout.types import Expert

JUDGED = ("judge_score", "judge_cost")  # the log's columns for what a judge said beside another grader


async def collect(
    questions: Sequence[Question],
    experts: Sequence[Expert],
    out: Path,
    *,
    settings: Settings,
    judging: Judging | None = None,
    concurrency: int = 8,
    max_usd: float | None = None,
    seed: int = 0,
    watch: Callable[[Progress], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Progress:
    """Collect into a folder and write its outcome log. Nothing that was answered is asked again.

    Questions come in an order shuffled by `seed`, so that a run that stops early leaves a fair sample. Failures are
    kept apart, never scored, and tried again by the next run. Answers that a model judges are judged once all are
    there. Raises ConfigError or LogError.

    Limits: the cap trusts upstreams to keep to `max_tokens`; a call cut off after it began is charged in full.
    """
    if not questions or not experts or concurrency < 1:
        given = f"{len(questions)} questions, {len(experts)} experts, concurrency {concurrency}"
        raise ConfigError(f"collecting needs at least one of each, got {given}")
    if judging is None and any(question.score is None for question in questions):
        raise ConfigError("questions with the grader `judge` need one: `[judge]` in the configuration, or --judge")
    with Folder(out) as folder:
        folder.settle({expert.arm.id: settings.of(expert.arm) for expert in experts})
        folder.add_questions(questions)
        order = list(questions)
        random.Random(seed).shuffle(order)
        pairs = [(question, expert) for question in order for expert in experts]
        left = [(question, expert) for question, expert in pairs if (question.id, expert.arm.id) not in folder.answers]
        progress = Progress(len(pairs), len(pairs) - len(left), spent=folder.spent)
        session = Session(folder, Budget(max_usd, folder.spent), progress, watch, clock, sleep)
        try:
            await _Run(session, settings, left).work(concurrency)
            if judging is not None:
                await judge(session, judging, questions, concurrency)
        except asyncio.CancelledError:  # Ctrl-C: what there is makes a log all the same
            if graded(folder, questions, judging):
                write_log(folder, questions, judging)
            raise
        progress.spent = session.budget.spent  # with the tries that the cap ended
        if progress.capped and not folder.answers and not folder.failures:
            raise LogError(f"{out}: no answer yet; the cap of US$ {max_usd:g} has no room for the most one may cost")
        write_log(folder, questions, judging)
    return progress


class _Run:
    """The workers that ask the experts."""

    def __init__(self, session: Session, settings: Settings, left: Sequence[tuple[Question, Expert]]) -> None:
        self.session, self.settings, self.left = session, settings, iter(left)
        self.folder, self.budget, self.progress = session.folder, session.budget, session.progress
        self.failures_in_a_row: Counter[str] = Counter()

    async def work(self, concurrency: int) -> None:
        self.session.watch(self.progress)
        await at_once(self._worker, concurrency)

    async def _worker(self) -> None:
        for question, expert in self.left:
            if self.progress.capped:
                return
            if expert.arm.id not in self.progress.given_up:
                await self._one(question, expert)

    async def _one(self, question: Question, expert: Expert) -> None:
        """Ask until there is an answer or no use in asking again; every try is paid for by itself."""
        body = request(question, expert.arm, self.settings)
        bound = most(body, expert.arm, self.settings)
        answer = await tries(partial(self._try, question, expert, body, bound), self.budget, bound, self.session.sleep)
        if answer is None:
            self.progress.capped = True
        else:
            self._count(answer)

    async def _try(self, question: Question, expert: Expert, body: bytes, bound: float) -> tuple[Answer, bool]:
        """An answer or a failure, kept and charged, and whether another try may help."""
        self.folder.begin(question.id, expert.arm.id, bound)
        answer, again = await attempt(
            ask(expert, question, body, self.settings, self.session.clock),
            lambda error, cost: Answer(query_id=question.id, expert=expert.arm.id, error=str(error), cost=cost),
            self.budget,
            bound,
        )
        score = None if answer.error is None and question.score else answer.score
        try:
            if score is None and question.score:
                score = question.score(answer.response)
        finally:  # it is paid for, even where a user's grader fails on it
            self.folder.add(msgspec.structs.replace(answer, score=score))
        return answer, again

    def _count(self, answer: Answer) -> None:
        progress, name = self.progress, answer.expert
        progress.asked += 1
        progress.spent = self.budget.spent
        if answer.error is None:
            progress.done += 1
            self.failures_in_a_row[name] = 0
        else:
            progress.failed += 1
            self.failures_in_a_row[name] += 1
            if self.failures_in_a_row[name] >= GIVE_UP_AFTER and name not in progress.given_up:
                progress.given_up.append(name)
        self.session.watch(progress)


def graded(folder: Folder, questions: Sequence[Question], judging: Judging | None) -> list[Answer]:
    """The answers that have a score: those that no model judges, and those that the present judge has judged.

    An answer that its grader failed on has one where its question is among the given ones, to be graded anew.
    """
    known = {question.id for question in questions}
    judged = {key[:2] for key in folder.judgements if judging is not None and key[2] == judging.key}
    waits = {name for name, row in folder.questions.items() if row["grader"] == NAME}
    scored = (a for a in folder.answers.values() if a.score is not None or a.query_id in known)
    answers = sorted(scored, key=lambda a: (a.query_id, a.expert))
    return [a for a in answers if a.query_id not in waits or (a.query_id, a.expert) in judged]


def write_log(folder: Folder, questions: Sequence[Question] = (), judging: Judging | None = None) -> None:
    """Write the folder's answers as an outcome log; those to `questions` are graded anew. Raises LogError."""
    import polars as pl

    from turnout.outcomes import OutcomeLog

    answers = graded(folder, questions, judging)
    if not answers:
        raise LogError(f"{folder.path}: {_nothing(folder)}")
    known = {question.id: question for question in questions}
    names = sorted({name for answer in answers for name in answer.logprobs or ()})
    rows = [_outcome(answer, known.get(answer.query_id), names) for answer in answers]
    if judging is not None:
        rows = [_with_judgement(row, folder, judging.key) for row in rows]
    asked = {answer.query_id for answer in answers}
    queries = [_query(row) for row in folder.questions.values() if row["id"] in asked]
    log = OutcomeLog(pl.DataFrame(queries), pl.DataFrame(rows, infer_schema_length=None), where=f"{folder.path}: ")
    log.write(folder.path)


def _nothing(folder: Folder) -> str:
    """Why there is no log."""
    if folder.answers:
        why = f"; a failure: {folder.judge_failed}" if folder.judge_failed else ""
        return f"no answer is judged yet{why}"
    failed = next(iter(folder.failures.values()), None)
    return "no answer yet" + (f"; the first failure: {failed.error}" if failed else "")


def _outcome(answer: Answer, question: Question | None, names: Sequence[str]) -> dict[str, Any]:
    return {
        "query_id": answer.query_id,
        "expert": answer.expert,
        "score": question.score(answer.response) if question and question.score else answer.score,
        "cost": answer.cost,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "latency": answer.latency,
        "response": answer.response,
        "finish_reason": answer.finish_reason,
        **{name: (answer.logprobs or {}).get(name) for name in names},
    }


def _with_judgement(row: dict[str, Any], folder: Folder, key: str) -> dict[str, Any]:
    """The row with the judge's score and what judging cost; that score is `score` where nothing else grades."""
    found = folder.judgements.get((row["query_id"], row["expert"], key))
    is_judged = folder.questions[row["query_id"]]["grader"] == NAME
    score = found.score if found is not None and is_judged else row["score"]
    judged = {"judge_score": found.score, "judge_cost": found.cost} if found else dict.fromkeys(JUDGED)
    return {**row, "score": score, **judged}


def _query(row: dict[str, Any]) -> dict[str, Any]:
    target = row["target"]
    shown = target if isinstance(target, str) else " | ".join(target)
    return {
        "query_id": row["id"],
        "prompt": row["prompt"],
        "task": row["task"],
        "target": shown,
        "grader": row["grader"],
    }
