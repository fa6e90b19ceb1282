"""`turnout log`: import an outcome log, look at it, convert it, split it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turnout.cli import _imports, _value

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(help="Import an outcome log, look at it, convert it, split it.", no_args_is_help=True)
app.command("import")(_imports.import_)
app.command("formats")(_imports.formats)
app.command("value")(_value.value)

Log = Annotated[Path, typer.Argument(help="A .parquet, .jsonl or .csv file, or a folder with outcomes.parquet.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


@app.command()
def describe(
    log: Log,
    against: Annotated[Path | None, typer.Option(help="A training log: count the prompts that both hold.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sizes, experts, costs, near-duplicates, headroom to the oracle, and leaks from another log."""
    from turnout.cli._output import emit, stderr
    from turnout.outcomes import OutcomeLog
    from turnout.outcomes import describe as described

    with stderr().status("reading, and comparing prompts"):
        read = OutcomeLog.read(log)
        result = {"log": str(log), **described(read)}
        if against is not None:
            result["leaks"] = _leaks(read, against)
    emit(result, as_json, lambda console: _show(console, result))


@app.command()
def convert(
    log: Log,
    out: Annotated[Path, typer.Argument(help="Where to: a file ending as above, or a folder.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a log in another format."""
    from turnout.cli._output import emit, free
    from turnout.outcomes import OutcomeLog

    free(out, force)
    read = OutcomeLog.read(log)
    read.write(out)
    back = OutcomeLog.read(out)
    lost = len(read) - len(back)
    result = {"log": str(out), "queries": len(back), "outcomes": back.outcomes.height, "queries_lost": lost}
    remark = f"; {lost} queries without an outcome have no place in a single file" if lost else ""
    emit(result, as_json, lambda console: console.print(f"{out}: {back!r}{remark}"))


@app.command()
def split(
    log: Log,
    first: Annotated[Path, typer.Argument(help="Where the first part goes.")],
    rest: Annotated[Path, typer.Argument(help="Where the rest goes.")],
    fraction: Annotated[float, typer.Option(help="Share of the queries in the first part.")] = 0.8,
    seed: Annotated[int, typer.Option(help="The same seed makes the same split.")] = 0,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Split a log by query; near-duplicates stay together."""
    from turnout.cli._output import emit, free
    from turnout.errors import ParameterError
    from turnout.outcomes import OutcomeLog

    if not 0 < fraction < 1:
        raise ParameterError(f"`--fraction` must be in (0, 1), got {fraction}")
    if first.resolve() == rest.resolve():
        raise ParameterError(f"the two parts need two places, got {first} twice")
    for out in (first, rest):
        free(out, force)
    parts = dict(zip((first, rest), OutcomeLog.read(log).split(fraction, seed), strict=True))
    for out, part in parts.items():
        part.write(out)
    result = {"fraction": fraction, "seed": seed, "parts": {str(out): len(part) for out, part in parts.items()}}
    emit(result, as_json, lambda console: console.print("\n".join(f"{out}: {part!r}" for out, part in parts.items())))


def _leaks(log: Any, against: Path) -> dict[str, Any]:
    from turnout.outcomes import OutcomeLog, leaks

    found = leaks(train=OutcomeLog.read(against), test=log)
    counts = {"exact": found.exact, "near": found.near, "same_ids": found.same_ids}
    return {"against": str(against), **counts, "examples": list(found.examples)}


def _show(console: Console, result: dict[str, Any]) -> None:
    from rich.markup import escape

    from turnout.cli._output import show, table

    facts = (
        f"{show(result['queries'])} queries × {show(result['experts'])} experts, {show(result['outcomes'])} outcomes"
    )
    console.print(f"[bold]{escape(result['log'])}[/bold]  {facts}")
    rows = [
        (escape(arm["expert"]), show(arm["score"]), show(arm["cost"]), f"{arm['coverage']:.1%}")
        for arm in result["arms"]
    ]
    console.print(table(("expert", "mean score", "$ / request", "coverage"), rows))
    facts_table = table(("", ""), _facts(result), words=("",))
    facts_table.show_header, facts_table.box = False, None
    console.print(facts_table)
    for example in result.get("leaks", {}).get("examples", ()):
        ids = f"{example['test']} = {example['train']}"
        console.print(f"  [dim]{escape(ids)} ({example['jaccard']:.2f})[/dim] {escape(example['text'])}")


def _facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The remaining lines as (name, words)."""
    from rich.markup import escape

    from turnout.cli._output import show
    from turnout.outcomes.coverage import words

    headroom, propensity, leaks = result["headroom"], result["propensity"], result.get("leaks")
    stored = ", ".join(f"{name} {share:.0%}" for name, share in result["stored_share"].items())
    twins, columns = result["duplicates"], result["columns"]
    groups = f"{show(twins['groups'])} group{'' if twins['groups'] == 1 else 's'}"
    largest = f", the largest of {show(twins['largest'])}" if twins["groups"] else ""
    facts = [
        ("missing", f"{result['missing_share']:.1%} of outcomes; {show(result['queries_without_prompt'])} prompts"),
        *(("not at random", escape(words(one))) for one in result["uneven"]),
        ("tasks", show(result["tasks"])),
        ("columns", escape(", ".join(columns["queries"] + columns["outcomes"][1:]))),
        ("stored", f"{stored} of outcomes"),
        ("near-duplicates", f"{show(twins['queries'])} queries in {groups}{largest}{_across(twins)}"),
    ]
    if twins["largest_prompt"]:
        facts.append(("largest group", escape(f"“{twins['largest_prompt']}…”")))
    if headroom:
        best = f"{escape(headroom['best_single'])} {headroom['best_single_score']:.3f}"
        facts.append(("best single", f"{best} (on {show(headroom['queries'])} queries)"))
        facts.append(("oracle", f"{headroom['oracle']:.3f}: {headroom['gap']:.3f} to gain"))
        facts.append(("luck", _luck(result["luck"])))
    if propensity:
        spread = f"{propensity['min']:.3g} to {propensity['max']:.3g}, median {propensity['median']:.3g}"
        worth = f"{propensity['effective_sample_size']:,.0f}"
        facts.append(("propensity", f"{spread}; {propensity['outcomes']:,.0f} outcomes weigh as much as {worth}"))
    if leaks:
        counts = f"{show(leaks['exact'])} exact and {show(leaks['near'])} near prompts, {show(leaks['same_ids'])} ids"
        facts.append(("leaks", f"{counts} shared with {escape(leaks['against'])}"))
    return facts


def _across(twins: dict[str, Any]) -> str:
    return f"; {twins['across_tasks']:,} of them across tasks" if twins["across_tasks"] else ""


def _luck(found: dict[str, Any] | None) -> str:
    """What repeats tell about the oracle, in words."""
    if found is None:
        return "unknown: no query has two runs of two experts, so the gain may be the luck of single runs"
    gain, runs = found["confirmed_gain"], f"{found['queries']:,} queries, {found['runs']:.3g} runs each"
    share = "no gap"
    if found["luck_share_low"] is not None:
        share = (
            f"{found['luck_share_low']:.0%} to {found['luck_share_high']:.0%} of a single-run gap of {found['gap']:.3f}"
        )
    confirmed = f"held-out runs confirm {gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    return f"{share}; {confirmed}; {runs}"
