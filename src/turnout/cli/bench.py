"""`turnout bench`: the quality bars on public tables, with pass or miss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout.cli._listed import listed

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.estimators.base import Estimator
    from turnout.evaluation.benchmark import Bar
    from turnout.evaluation.protocol import Method
    from turnout.evaluation.results import Evaluation, Sheet

TABLES = (
    "nine_llm, routellm_mmlu, routellm_gsm8k, local_pool, seven_llm, seven_llm:70_30, seven_llm:families, "
    "routerbench_subset, alpacaeval, greenserv, clinc150, metatool"
)


def command(
    *,
    data: Annotated[Path | None, typer.Option(help="Folder of outcome tables; else the variable TURNOUT_DATA.")] = None,
    only: Annotated[str | None, typer.Option(help=f"Tables, with commas: {TABLES}.")] = None,
    seeds: Annotated[str, typer.Option(help="How many seeds, or their numbers with commas; `7,` is one alone.")] = "5",
    estimator: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure bare estimators instead of the router; may be repeated; `a+b` is their mean, `a@own` reads "
            "the signal `own` too."
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(help="Measure `turnout tune` over these methods, or `all`; each split is searched anew."),
    ] = None,
    curve: Annotated[bool, typer.Option("--curve", help="With --tune: as `tune --curve`, for AIQ.")] = False,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="The router, or the estimators, read this encoder: all-minilm-l6-v2, a local model, or a file."
        ),
    ] = None,
    novelty: Annotated[
        float | None, typer.Option(help="As `fit --novelty`: the share of rarest queries, 0 to route all.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write one page: a league table, then curves, calibration and bars of each."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure quality on public tables: every query is tested by a router that never saw it."""
    from turnout.cli._evaluation import numbers, progress, render_bars, write_html
    from turnout.cli._output import emit, stdout
    from turnout.errors import ConfigError
    from turnout.evaluation import benchmark, datasets
    from turnout.evaluation.report import page, require
    from turnout.evaluation.results import Sheet
    from turnout.systems import _bench as measured

    folder = datasets.folder(data)
    options = {} if novelty is None else {"novelty": novelty}
    other = bool(estimator or encoder or tune or options)
    names = listed(only) if only else _present(folder, bare=other)
    if not names:
        raise ConfigError(f"the folder must hold one of {TABLES} (routellm_* in `routellm`); got {str(folder)!r}")
    if other and (fixed := sorted(set(names) & set(measured.TABLES))):
        raise ConfigError(
            f"{', '.join(fixed)}: measured by a system of its own; --estimator and the like are for others"
        )
    if (options and estimator) or (tune and (estimator or options)) or (curve and not tune):
        raise ConfigError("--novelty goes without --estimator, --tune without both, --curve with --tune")
    if html:
        require()
    methods = [_tuned(tune, encoder, curve=curve)] if tune else _methods(estimator, encoder, options)
    evaluations: list[Evaluation] = []
    sheets: list[Sheet] = []
    bars: dict[str, Sequence[Bar]] = {}
    tables: dict[str, Any] = {}
    for name in names:
        shown: Evaluation | Sheet
        with progress(name) as tick:
            if name in measured.TABLES:
                shown, made = measured.run(name, folder, numbers(seeds), tick)
            else:
                found = benchmark.run(name, folder, methods, seeds=numbers(seeds), progress=tick)
                shown, made = found.evaluation, found.bars
        bars[shown.title] = made
        tables[name] = {**shown.to_dict(), "bars": [bar.to_dict() for bar in made]}
        if isinstance(shown, Sheet):
            sheets.append(shown)
        else:
            evaluations.append(shown)
        if not as_json:
            _show(stdout(), shown)
            render_bars(stdout(), name, made)
    if html:
        write_html(html, page(evaluations, "Turnout bench", bars, sheets=sheets))
    every = [bar for made in bars.values() for bar in made]
    passed = sum(bar.passed for bar in every)
    result = {"passed": passed, "bars": len(every), "tables": tables}
    emit(result, as_json, lambda console: console.print(f"{passed} of {len(every)} bars passed"))


def _show(console: Console, sheet: Evaluation | Sheet) -> None:
    """An evaluation, or the headline and rows of a measurement with columns of its own."""
    from turnout.cli._evaluation import render, show_table, span
    from turnout.cli._output import table
    from turnout.evaluation.results import Sheet

    if not isinstance(sheet, Sheet):
        render(console, sheet)
        return
    gain = "" if sheet.gain is None else f" · {span(sheet.gain, signed=True)} over {sheet.against}"
    console.print(f"[bold]{sheet.title}[/bold]: {sheet.metric} {span(sheet.value)}{gain}")
    console.print(f"[dim]{sheet.protocol}. Intervals are 95 %.[/dim]")
    columns = list(sheet.rows[0]) if sheet.rows else []
    show_table(console, table(["" if c == "name" else c for c in columns], [row.values() for row in sheet.rows]))


def _present(folder: Path, *, bare: bool) -> list[str]:
    from turnout.evaluation import benchmark, datasets
    from turnout.systems import _bench as measured

    held = datasets.available(folder)
    found = [name for name in benchmark.BENCHES if benchmark.table_of(name) in held]
    return found if bare else found + measured.present(folder)


def _methods(estimators: list[str] | None, encoder: str | None, options: dict[str, float]) -> list[Method]:
    from turnout import registry
    from turnout.evaluation.methods import Fitted, Recipe
    from turnout.routers.fitting import named_estimator

    if not estimators:
        return [Fitted(encoder=encoder, options=options)]
    made = {name: named_estimator(name) for name in estimators}
    if not encoder:
        return [Recipe(estimator, name) for name, estimator in made.items()]
    signals = {"sentence": registry.create("signal", "sentence", encoder=encoder)}
    return [Recipe(_on_sentences(estimator), name, signals=signals) for name, estimator in made.items()]


def _tuned(names: str, encoder: str | None, *, curve: bool) -> Method:
    from turnout.evaluation.goals import Goal
    from turnout.evaluation.tuning import Tuned

    return Tuned(Goal(curve=curve), None if names == "all" else listed(names), encoder=encoder)


def _on_sentences(made: Estimator) -> Estimator:
    """The estimator that reads `sentence` where this one reads `embedding`. Raises ConfigError where it does not."""
    from turnout.errors import ConfigError

    reads = made.rewired({"embedding": "sentence"})
    if reads.signals == made.signals:
        raise ConfigError(f"estimator {made.name!r} names no signal `embedding`, in whose place to read an encoder")
    return reads
