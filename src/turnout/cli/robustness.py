"""`turnout robustness`: how often a router changes its mind when a request is only written differently."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout.cli._listed import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from turnout.evaluation.robustness import Robustness


def command(
    source: Annotated[Path, typer.Argument(help="Outcome log, or questions: .jsonl with `prompt`, .txt with lines.")],
    *,
    router: Annotated[
        list[str] | None, typer.Option("--router", help="Folder of a router, or `shipped`; may be repeated.")
    ] = None,
    smooth: Annotated[bool, typer.Option(help="Also ask each router with its signals averaged over views.")] = True,
    views: Annotated[str, typer.Option(help="Views of smoothing: plain, canonical, thinned.")] = "canonical",
    sample: Annotated[int, typer.Option(min=1, help="At most this many texts, at random by the seed.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the sample and of the changes.")] = 0,
    paraphraser: Annotated[
        str | None, typer.Option(help="An expert of the configuration that writes a paraphrase of each text.")
    ] = None,
    paraphrases: Annotated[int, typer.Option(min=1, help="At most this many texts are paraphrased.")] = 50,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Where the paraphraser is configured.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Flip rates under case, white space, punctuation, instructions around the request, courtesy, option order, typos.

    On a log the change in score is shown too, supposing that an expert answers the same question alike; a router's
    own training log flatters it.
    """
    from turnout.cli._output import emit
    from turnout.evaluation import robustness
    from turnout.routers import Router, shipped_path
    from turnout.routers.smoothing import smoothed

    texts, experts, score_NE = _read(source, sample, seed)
    further = {"paraphrase": _paraphrased(texts, paraphraser, paraphrases, config)} if paraphraser else {}
    questions = robustness.Questions.of(texts, seed=seed, further=further, experts=experts, score_NE=score_NE)
    found = []
    for name in router or ["shipped"]:
        loaded = Router.load(shipped_path() if name == "shipped" else Path(name))
        label = Path(name).name
        found.append(robustness.measure(loaded, questions, label))
        if smooth:
            other = smoothed(loaded, tuple(listed(views)))
            found.append(robustness.measure(other, questions, f"{label} smoothed"))
    result = {"texts": len(texts), "routers": [each.to_dict() for each in found]}
    if smooth:
        result["smoothing"] = {
            plain.router: robustness.difference(other, plain, questions)._asdict()
            for plain, other in zip(found[::2], found[1::2], strict=True)
        }
    emit(result, as_json, lambda console: _show(console, found))


def _read(source: Path, sample: int, seed: int) -> tuple[list[str], tuple[str, ...], Any]:
    """Texts, and for a log its experts and scores."""
    import numpy as np

    from turnout.errors import LogError

    experts: tuple[str, ...] = ()
    score_NE = None
    texts = _questions(source)
    if texts is None:
        from turnout.outcomes import OutcomeLog

        log = OutcomeLog.read(source)
        log.require_text()
        texts, experts, score_NE = log.texts, log.experts, log.matrix()
    kept = [n for n, text in enumerate(texts) if text.strip()]
    if not kept:
        raise LogError(f"{source}: no text")
    at = np.sort(np.random.default_rng(seed).permutation(kept)[:sample])
    return [texts[n] for n in at], experts, None if score_NE is None else score_NE[at]


def _questions(source: Path) -> list[str] | None:
    """Prompts of a file of questions; None where it is an outcome log."""
    import json

    from turnout.errors import LogError

    if source.suffix not in {".txt", ".jsonl", ".ndjson"}:
        return None
    try:
        lines = source.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"cannot read {source}: {error}") from error
    if source.suffix == ".txt":
        return lines
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise LogError(f"{source}, line {number}: not JSON: {error}") from error
        if isinstance(row, dict) and "expert" in row:
            return None
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise LogError(f"{source}, line {number}: `prompt` must be a text")
        found.append(row["prompt"])
    return found


def _paraphrased(texts: Sequence[str], expert: str, count: int, config: Path | None) -> list[str | None]:
    """A model's paraphrases of the first `count` texts; None for the others, and where it says nothing new."""
    import asyncio

    from turnout.cli._paraphrase import paraphrase
    from turnout.config import load
    from turnout.experts import pool

    built = pool.build(load(config))
    try:
        made = asyncio.run(paraphrase(built, expert, texts[:count]))
    finally:
        built.close()
    return [*made, *([None] * (len(texts) - len(made)))]


def _show(console: Console, found: Sequence[Robustness]) -> None:
    from turnout.cli._evaluation import show_table, span
    from turnout.cli._output import table

    names = [row.perturbation for row in found[0].flips]
    rows = [
        [name, found[0].flips[i].texts, *(span(each.flips[i].rate) for each in found)] for i, name in enumerate(names)
    ]
    head = [f"{each.router} (behind its guard)" if each.abstains else each.router for each in found]
    show_table(console, table(["flip rate [95 %]", "texts", *head], rows))
    prices = [[each.router, span(each.accuracy), f"{each.milliseconds:.2f}"] for each in found]
    show_table(console, table(["", "mean score", "ms a text"], prices))
