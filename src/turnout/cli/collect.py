"""`turnout collect`: an outcome log from real experts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout.cli._listed import listed

if TYPE_CHECKING:
    from turnout.collect.ask import Settings
    from turnout.collect.judging import Judging
    from turnout.collect.session import Progress
    from turnout.collect.tasks import Question
    from turnout.config import Config
    from turnout.types import Expert

JUDGE = "judge"  # the id of a judge with a server of its own


def command(
    tasks: Annotated[
        list[str],
        typer.Argument(
            help="JSONL files of {prompt, target, grader?, task?} or reasoning-gym names, each with an optional :SIZE."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the log; a folder begun before goes on.")],
    experts: Annotated[
        str | None, typer.Option(help="Comma-separated ids or patterns, as 'small*'; default all configured.")
    ] = None,
    grader: Annotated[
        list[str] | None,
        typer.Option(
            help="FILE.py:FUNCTION from (response, target) to a score, for rows that name it; may be repeated."
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="The expert that grades rows with the grader `judge`; default `judge.expert` as configured."),
    ] = None,
    judge_all: Annotated[
        bool, typer.Option("--judge-all", help="Judge every answer, in a column `judge_score` beside the score.")
    ] = False,
    size: Annotated[int, typer.Option(min=1, help="Questions per reasoning-gym data set.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the generated questions and of their order.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls at once.")] = 8,
    max_tokens: Annotated[
        list[str] | None, typer.Option(help="Limit per answer: N, or PATTERN=N for some experts; may be repeated.")
    ] = None,
    max_usd: Annotated[float | None, typer.Option(min=0, help="Never spend more, earlier runs included.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="Of the answers.")] = 0.0,
    logprobs: Annotated[
        int | None,
        typer.Option(min=0, max=20, help="Keep log-probability signals, with so many alternatives (0: none)."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one answer.")] = 600.0,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A configuration file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Ask every expert every question, grade the answers and write the outcome log."""
    from turnout.cli._output import emit
    from turnout.collect.ask import Settings
    from turnout.collect.functions import read_functions
    from turnout.collect.tasks import load as load_tasks
    from turnout.config import load

    loaded = load(config, flags={"judge.expert": judge})
    limits = _limits(max_tokens or [])
    settings = Settings(limits, temperature=temperature, top_logprobs=logprobs, deadline_s=timeout)
    questions = load_tasks(tasks, size=size, seed=seed, functions=read_functions(grader or ()))
    options = {"concurrency": concurrency, "max_usd": max_usd, "seed": seed}
    chosen = listed(experts) if experts else ["*"]
    judged = judge_all or any(question.score is None for question in questions)
    run = _collect(loaded, chosen, questions, out, settings, options, judged=judged, judge_all=judge_all)
    with _terminating_as_interrupting():
        progress = asyncio.run(run)
    result = _summary(out, questions, progress)
    emit(result, as_json, lambda console: _render(console, result))


@contextmanager
def _terminating_as_interrupting() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does: what was answered is written as a log."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _limits(texts: Sequence[str]) -> dict[str, int]:
    """`256` and `*+steps=512` as a mapping from patterns to tokens; 512 for all where nothing is said."""
    from turnout.errors import ConfigError

    limits = {"*": 512}
    for text in texts:
        pattern, _, number = text.rpartition("=")
        if not number.isdecimal() or not int(number):
            raise ConfigError(f"`--max-tokens` must be N or PATTERN=N with N of at least 1, got {text!r}")
        limits[pattern or "*"] = int(number)
    return limits


async def _collect(
    config: Config,
    chosen: Sequence[str],
    questions: list[Question],
    out: Path,
    settings: Settings,
    options: dict[str, Any],
    *,
    judged: bool,
    judge_all: bool,
) -> Progress:
    from turnout.collect.runner import collect

    if judged:
        config, name = with_judge(config)
    async with _experts(config, chosen, name if judged else None) as (experts, judge):
        judging = _judging(config, judge, judge_all) if judge is not None else None
        with _bar() as watch:
            return await collect(questions, experts, out, settings=settings, judging=judging, watch=watch, **options)


def with_judge(config: Config) -> tuple[Config, str]:
    """The configuration with the judge's own server as an expert, and the judge's id. Raises ConfigError."""
    import dataclasses

    from turnout.config import ExpertConfig
    from turnout.errors import ConfigError

    given = config.judge
    if given.expert is not None:
        return config, given.expert
    if given.base_url is None:
        raise ConfigError("a judge is needed: set `expert` or `base_url` under [judge], or pass --judge EXPERT")
    if any(expert.id == JUDGE for expert in config.experts):
        raise ConfigError(f"an expert has the id {JUDGE!r}, which the server under [judge] takes; rename the expert")
    own = ExpertConfig(JUDGE, given.base_url, given.model, given.key_env, given.price)
    return dataclasses.replace(config, experts=(*config.experts, own)), JUDGE


def _judging(config: Config, judge: Expert, also: bool) -> Judging:
    from turnout import registry
    from turnout.collect.judging import Judging

    rubric = {} if config.judge.rubric is None else {"rubric": config.judge.rubric}
    grader = registry.create("grader", "judge", scale=config.judge.scale, **rubric)
    return Judging(judge, grader, also, config.judge.max_tokens, config.judge.body)


@asynccontextmanager
async def _experts(
    config: Config, patterns: Sequence[str], judge: str | None
) -> AsyncIterator[tuple[list[Expert], Expert | None]]:
    """The chosen experts and the judge, started; embedded models that none of them needs are left out.

    An embedded model that is not configured may judge all the same.
    """
    import dataclasses

    from turnout.errors import UnknownNameError
    from turnout.experts import pool

    ids = [arm.id for arm in pool.arms(config) if arm.id != JUDGE or judge != JUDGE]
    wanted = select(ids, patterns)
    if not wanted:
        raise UnknownNameError("expert", ",".join(patterns), ids)
    used = [*wanted, *([judge] if judge else [])]
    names = _embedded(config, used)
    servers = tuple(expert for expert in config.experts if expert.id in used)
    embedded = dataclasses.replace(config.embedded, models=names)
    started = dataclasses.replace(config, embedded=embedded, experts=servers)
    by_id = {arm.id for arm in pool.arms(started)}
    if judge is not None and judge not in by_id:
        raise UnknownNameError("judge", judge, ids)
    opened = await asyncio.to_thread(pool.build, started)
    try:
        yield [opened.experts[name] for name in wanted], opened.experts[judge] if judge else None
    finally:
        await opened.aclose()


def _embedded(config: Config, used: Sequence[str]) -> tuple[str, ...]:
    """The embedded models that the used experts run on."""
    from turnout.models import catalogue

    servers = {expert.id for expert in config.experts}
    bases = {one.partition("+")[0] for one in used if one not in servers}
    known = [*config.embedded.models, *(name for name in catalogue.CATALOGUE if name not in config.embedded.models)]
    return tuple(name for name in known if name in bases)


def select(ids: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The ids that some pattern matches, in their own order. Raises UnknownNameError for one that matches none.

    >>> select(["a", "a+steps", "b"], ["a*"])
    ['a', 'a+steps']
    """
    from fnmatch import fnmatchcase

    from turnout.errors import UnknownNameError

    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in ids):
            raise UnknownNameError("expert", pattern, ids)
    return [name for name in ids if any(fnmatchcase(name, pattern) for pattern in patterns)]


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """A progress bar with the spend so far, on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from turnout.cli._output import stderr

    columns = (TextColumn("collecting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[spent]}"), console=stderr()) as shown:
        bar = shown.add_task("", total=None, spent="")

        def watch(now: Any) -> None:
            failed = f", {now.failed} failed" if now.failed else ""
            shown.update(bar, total=now.total, completed=now.done, spent=f"US$ {now.spent:.6f}{failed}")

        yield watch


def _summary(out: Path, questions: Sequence[Question], progress: Progress) -> dict[str, Any]:
    import polars as pl

    from turnout.outcomes import OutcomeLog

    log = OutcomeLog.read(out)
    means = log.outcomes.group_by("expert", maintain_order=True).agg(pl.len().alias("answers"), pl.col("score").mean())
    return {
        "log": str(out),
        "questions": len(questions),
        "answers": log.outcomes.height,
        "asked": progress.asked,
        "failed": progress.failed,
        "missing": progress.total - progress.done,
        "spent_usd": progress.spent,
        "capped": progress.capped,
        "given_up": progress.given_up,
        "experts": means.to_dicts(),
        "judge": {
            "judged": progress.judged,
            "unjudged": progress.unjudged,
            "spent_usd": progress.judging,
            "failure": progress.judge_failed,
        },
    }


def _render(console: Any, result: dict[str, Any]) -> None:
    from rich.markup import escape

    from turnout.cli._output import table

    rows = [(entry["expert"], entry["answers"], entry["score"]) for entry in result["experts"]]
    console.print(table(["expert", "answers", "mean score"], rows))
    console.print(f"{result['answers']:,} answers in {result['log']}; spent US$ {result['spent_usd']:.6f}")
    if result["capped"]:
        console.print("[yellow]stopped at the cap on spend[/yellow]; a higher --max-usd goes on")
    for name in result["given_up"]:
        console.print(f"[yellow]{name} failed too often in a row and was left out[/yellow]")
    judge = result["judge"]
    if judge["judged"]:
        console.print(f"{judge['judged']:,} answers judged now, for US$ {judge['spent_usd']:.6f} of that")
    if judge["unjudged"]:
        why = f": {escape(judge['failure'])}" if judge["failure"] else ""
        console.print(f"[yellow]{judge['unjudged']:,} answers are not judged{why}[/yellow]; the same command goes on")
    if result["missing"]:
        console.print(f"{result['missing']:,} answers are missing; the same command asks for them alone")
