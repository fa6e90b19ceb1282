"""`turnout collect`: an outcome log from real experts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from turnout.collect.ask import Settings
    from turnout.collect.runner import Progress
    from turnout.collect.tasks import Question
    from turnout.config import Config
    from turnout.types import Expert


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

    loaded = load(config)
    limits = _limits(max_tokens or [])
    settings = Settings(limits, temperature=temperature, top_logprobs=logprobs, deadline_s=timeout)
    questions = load_tasks(tasks, size=size, seed=seed, functions=read_functions(grader or ()))
    options = {"concurrency": concurrency, "max_usd": max_usd, "seed": seed}
    chosen = [pattern.strip() for pattern in experts.split(",")] if experts else ["*"]
    progress = asyncio.run(_collect(loaded, chosen, questions, out, settings, options))
    result = _summary(out, questions, progress)
    emit(result, as_json, lambda console: _render(console, result))


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
) -> Progress:
    from turnout.collect.runner import collect

    async with _experts(config, chosen) as experts:
        with _bar() as watch:
            return await collect(questions, experts, out, settings=settings, watch=watch, **options)


@asynccontextmanager
async def _experts(config: Config, patterns: Sequence[str]) -> AsyncIterator[list[Expert]]:
    """The chosen experts, started; embedded models that no chosen arm needs are left out."""
    import dataclasses

    from turnout.errors import UnknownNameError
    from turnout.experts import pool

    ids = [arm.id for arm in pool.arms(config)]
    wanted = select(ids, patterns)
    needed = tuple(name for name in config.embedded.models if any(one.partition("+")[0] == name for one in wanted))
    servers = tuple(expert for expert in config.experts if expert.id in wanted)
    embedded = dataclasses.replace(config.embedded, models=needed)
    opened = await asyncio.to_thread(pool.build, dataclasses.replace(config, embedded=embedded, experts=servers))
    try:
        found = [expert for expert in opened if expert.arm.id in wanted]
        if not found:
            raise UnknownNameError("expert", ",".join(patterns), ids)
        yield found
    finally:
        await opened.aclose()


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
    }


def _render(console: Any, result: dict[str, Any]) -> None:
    from turnout.cli._output import table

    rows = [(entry["expert"], entry["answers"], entry["score"]) for entry in result["experts"]]
    console.print(table(["expert", "answers", "mean score"], rows))
    console.print(f"{result['answers']:,} answers in {result['log']}; spent US$ {result['spent_usd']:.6f}")
    if result["capped"]:
        console.print("[yellow]stopped at the cap on spend[/yellow]; a higher --max-usd goes on")
    for name in result["given_up"]:
        console.print(f"[yellow]{name} failed too often in a row and was left out[/yellow]")
    if result["missing"]:
        console.print(f"{result['missing']:,} answers are missing; the same command asks for them alone")
