"""Ask every expert every question: concurrent, resumable, within a cap on spend; then write the outcome log."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from turnout.collect.answers import Answer, Folder
from turnout.collect.ask import Refused, Settings, ask, most, request
from turnout.collect.budget import Budget
from turnout.collect.tasks import Question
from turnout.errors import ConfigError, ExpertError, ExpertUnreachable, LogError
from turnout.types import Expert

PAUSES_S = (1.0, 4.0)  # before the second and the third try
AGAIN = (408, 425, 429)  # statuses, beside 5xx, after which another try may help
GIVE_UP_AFTER = 5  # failures in a row, after which an expert is asked nothing more in this run


@dataclass(slots=True)
class Progress:
    """How far a collection is; `spent` in US dollars counts earlier runs in the folder too."""

    total: int
    done: int
    failed: int = 0
    spent: float = 0.0
    asked: int = 0
    capped: bool = False
    given_up: list[str] = field(default_factory=list)


async def collect(
    questions: Sequence[Question],
    experts: Sequence[Expert],
    out: Path,
    *,
    settings: Settings,
    concurrency: int = 8,
    max_usd: float | None = None,
    seed: int = 0,
    watch: Callable[[Progress], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Progress:
    """Collect into a folder and write its outcome log. Nothing that was answered is asked again.

    Questions come in an order shuffled by `seed`, so that a run that stops early leaves a fair sample. Failures are
    kept apart, never scored, and tried again by the next run. Raises ConfigError or LogError.

    Limits: the cap trusts upstreams to keep to `max_tokens`; a call cut off after it began is charged in full.
    """
    if not questions or not experts or concurrency < 1:
        given = f"{len(questions)} questions, {len(experts)} experts, concurrency {concurrency}"
        raise ConfigError(f"collecting needs at least one of each, got {given}")
    with Folder(out) as folder:
        folder.settle({expert.arm.id: settings.of(expert.arm) for expert in experts})
        folder.add_questions(questions)
        order = list(questions)
        random.Random(seed).shuffle(order)
        pairs = [(question, expert) for question in order for expert in experts]
        budget = Budget(max_usd, folder.spent)
        run = _Run(folder, pairs, settings=settings, budget=budget, watch=watch, clock=clock, sleep=sleep)
        try:
            await run.work(concurrency)
        except asyncio.CancelledError:  # Ctrl-C: what there is makes a log all the same
            if folder.answers:
                write_log(folder, questions)
            raise
        write_log(folder, questions)
    return run.progress


class _Run:
    """The state that the workers of one run share."""

    def __init__(
        self,
        folder: Folder,
        pairs: Sequence[tuple[Question, Expert]],
        *,
        settings: Settings,
        budget: Budget,
        watch: Callable[[Progress], None],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.folder, self.settings, self.budget = folder, settings, budget
        self.watch, self.clock, self.sleep = watch, clock, sleep
        self.failures_in_a_row: Counter[str] = Counter()
        left = [(question, expert) for question, expert in pairs if (question.id, expert.arm.id) not in folder.answers]
        self.left = iter(left)
        self.progress = Progress(len(pairs), len(pairs) - len(left), spent=budget.spent)

    async def work(self, concurrency: int) -> None:
        self.watch(self.progress)
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._worker())

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
        for pause in (*PAUSES_S, None):
            if not await self.budget.reserve(bound):
                self.progress.capped = True
                return
            answer, again = await self._try(question, expert, body, bound)
            if pause is None or not again:
                break
            await self.sleep(pause)
        self._count(answer)

    async def _try(self, question: Question, expert: Expert, body: bytes, bound: float) -> tuple[Answer, bool]:
        """An answer or a failure, kept and charged, and whether another try may help."""
        charged, again = bound, False
        self.folder.begin(question.id, expert.arm.id, bound)
        try:
            answer = await ask(expert, question, body, self.settings, self.clock)
            charged = answer.cost
        except ExpertError as error:
            charged = 0.0 if isinstance(error, (Refused, ExpertUnreachable)) else bound
            again = error.status in AGAIN or error.status >= 500
            answer = Answer(query_id=question.id, expert=expert.arm.id, error=str(error), cost=charged)
        finally:
            await self.budget.commit(bound, charged)
        self.folder.add(answer)
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
        self.watch(progress)


def write_log(folder: Folder, questions: Sequence[Question] = ()) -> None:
    """Write the folder's answers as an outcome log; those to `questions` are graded anew. Raises LogError."""
    import polars as pl

    from turnout.outcomes import OutcomeLog

    if not folder.answers:
        failed = next(iter(folder.failures.values()), None)
        raise LogError(f"{folder.path}: no answer yet" + (f"; the first failure: {failed.error}" if failed else ""))
    known = {question.id: question for question in questions}
    answers = sorted(folder.answers.values(), key=lambda a: (a.query_id, a.expert))
    names = sorted({name for answer in answers for name in answer.logprobs or ()})
    rows = [_outcome(answer, known.get(answer.query_id), names) for answer in answers]
    asked = {answer.query_id for answer in answers}
    queries = [_query(row) for row in folder.questions.values() if row["id"] in asked]
    log = OutcomeLog(pl.DataFrame(queries), pl.DataFrame(rows, infer_schema_length=None), where=f"{folder.path}: ")
    log.write(folder.path)


def _outcome(answer: Answer, question: Question | None, names: Sequence[str]) -> dict[str, Any]:
    return {
        "query_id": answer.query_id,
        "expert": answer.expert,
        "score": question.score(answer.response) if question else answer.score,
        "cost": answer.cost,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "latency": answer.latency,
        "response": answer.response,
        "finish_reason": answer.finish_reason,
        **{name: (answer.logprobs or {}).get(name) for name in names},
    }


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
