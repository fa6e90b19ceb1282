"""`turnout bench`: the quality bars on public tables, with pass or miss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from turnout.evaluation.protocol import Method

TABLES = (
    "nine_llm, routellm_mmlu, routellm_gsm8k, local_pool, seven_llm, seven_llm:70_30, seven_llm:families, "
    "routerbench_subset, alpacaeval"
)


def command(
    *,
    data: Annotated[Path | None, typer.Option(help="Folder of outcome tables; else the variable TURNOUT_DATA.")] = None,
    only: Annotated[str | None, typer.Option(help=f"Tables, with commas: {TABLES}.")] = None,
    seeds: Annotated[str, typer.Option(help="How many seeds, or their numbers with commas.")] = "5",
    estimator: Annotated[
        list[str] | None,
        typer.Option(help="Measure bare estimators by name instead of the router; may be repeated."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a report as one HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure quality on public tables: every query is tested by a router that never saw it."""
    from turnout.cli._evaluation import numbers, progress, render, render_bars, write_html
    from turnout.cli._output import emit, stdout
    from turnout.errors import ConfigError
    from turnout.evaluation import benchmark, datasets
    from turnout.evaluation.report import page, require

    folder = datasets.folder(data)
    names = only.split(",") if only else _present(folder)
    if not names:
        raise ConfigError(f"the folder must hold one of {TABLES} (routellm_* in `routellm`); got {str(folder)!r}")
    if html:
        require()
    outcomes = []
    for name in names:
        with progress(name) as tick:
            found = benchmark.run(name, folder, _methods(estimator), seeds=numbers(seeds), progress=tick)
        outcomes.append(found)
        if not as_json:
            render(stdout(), found.evaluation)
            render_bars(stdout(), name, found.bars)
    if html:
        bars = {found.evaluation.title: found.bars for found in outcomes}
        write_html(html, page([found.evaluation for found in outcomes], "Turnout bench", bars))
    passed = sum(bar.passed for found in outcomes for bar in found.bars)
    total = sum(len(found.bars) for found in outcomes)
    result = {
        "passed": passed,
        "bars": total,
        "tables": {
            found.name: {**found.evaluation.to_dict(), "bars": [bar.to_dict() for bar in found.bars]}
            for found in outcomes
        },
    }
    emit(result, as_json, lambda console: console.print(f"{passed} of {total} bars passed"))


def _present(folder: Path) -> list[str]:
    from turnout.evaluation import benchmark, datasets

    held = datasets.available(folder)
    return [name for name in benchmark.BENCHES if benchmark.table_of(name) in held]


def _methods(estimators: list[str] | None) -> list[Method]:
    from turnout import registry
    from turnout.evaluation.methods import Fitted, Recipe

    if not estimators:
        return [Fitted()]
    return [Recipe(registry.create("estimator", name)) for name in estimators]
