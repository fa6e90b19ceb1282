"""`turnout traces`: what was decided, why, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from turnout.store.traces import TraceStore

app = typer.Typer(no_args_is_help=True, help="What was decided, why, and what came of it.")
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="A configuration file.")]
FileOption = Annotated[Path | None, typer.Option("--file", help="A trace file other than the one in the data folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SinceOption = Annotated[float | None, typer.Option("--days", min=0, help="Only the last so many days.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 20,
    expert: Annotated[str | None, typer.Option(help="Only those that this expert answered.")] = None,
    scored: Annotated[
        bool | None, typer.Option("--scored/--unscored", help="Only those with (without) outcome.")
    ] = None,
    days: SinceOption = None,
    config: ConfigOption = None,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the newest traces, newest last."""
    from turnout.cli._output import emit
    from turnout.cli._traces import as_dict, listing

    with _open(config, file) as store:
        wanted = {"expert": expert, "scored": scored, "since": _since(days)}
        found = list(store.rows(limit=limit, newest_first=True, **wanted))[::-1]  # type: ignore[arg-type]
        total = len(store)
    result = {"total": total, "traces": [as_dict(trace, brief=True) for trace in found]}
    emit(result, as_json, lambda console: listing(console, found, total, store.path))


@app.command()
def show(
    trace: Annotated[str, typer.Argument(help="The id, or the beginning of it; `last` for the newest.")],
    config: ConfigOption = None,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain one decision: the estimates, the choice, the calls and the outcome."""
    from turnout.cli._output import emit
    from turnout.cli._traces import as_dict, page
    from turnout.errors import RequestError

    with _open(config, file) as store:
        found = next(store.rows(limit=1, newest_first=True), None) if trace == "last" else store.get(trace)
        if found is None:
            raise RequestError(f"no traces at {store.path} yet", status=404)
    emit(as_dict(found), as_json, lambda console: page(console, found))


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    days: SinceOption = None,
    config: ConfigOption = None,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the traces that have an outcome as an outcome log, which `turnout fit` takes."""
    from turnout.cli._output import emit

    with _open(config, file) as store:
        since = _since(days)
        log, total = store.export(out, since=since), store.count(since)
    result = {"log": str(out), "traces": total, "outcomes": len(log), "experts": list(log.experts)}
    left = total - len(log)
    text = f"wrote {len(log):,} outcomes of {len(log.experts)} experts to {out}"
    text += f"; {left:,} traces have none yet" if left else ""
    emit(result, as_json, lambda console: console.print(text, markup=False))


@app.command()
def prune(
    max_days: Annotated[float | None, typer.Option(min=0, help="Keep so many days; default as configured.")] = None,
    max_mb: Annotated[float | None, typer.Option(min=0, help="Keep so many megabytes; default as configured.")] = None,
    config: ConfigOption = None,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old traces and shrink the file."""
    from turnout.cli._output import emit

    with _open(config, file) as store:
        deleted = store.prune(max_days=max_days, max_mb=max_mb)
        left = len(store)
    size = store.path.stat().st_size / 1e6
    result = {"deleted": deleted, "left": left, "mb": size}
    emit(result, as_json, lambda c: c.print(f"deleted {deleted:,} traces; {left:,} are left in {size:.1f} MB"))


@app.command()
def grade(
    rules: Annotated[Path, typer.Argument(help="JSONL: {trace, score} or {trace or prompt, target, grader?} a line.")],
    grader: Annotated[str, typer.Option(help="For lines that name none.")] = "exact",
    again: Annotated[bool, typer.Option("--again", help="Also traces that have an outcome already.")] = False,
    config: ConfigOption = None,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Attach outcomes: given scores, or responses graded against targets (needs `traces.store = "prompts"`)."""
    from turnout.cli._output import emit
    from turnout.collect.regrade import outcomes, read_rules

    wanted = read_rules(rules, grader)
    with _open(config, file) as store:
        found = list(outcomes(wanted, store.rows(scored=None if again else False)))
        made = [outcome for _, outcome in found if outcome is not None]
        for outcome in made:
            store.feedback(outcome.trace, outcome.score, outcome.label)
    mean = sum(outcome.score for outcome in made) / len(made) if made else None
    missing = len(found) - len(made)
    result = {"graded": len(made), "without_response": missing, "mean_score": mean}
    text = f"graded {len(made):,} traces" + (f", mean score {mean:.3f}" if mean is not None else "")
    emit(result, as_json, lambda c: c.print(text + (f"; {missing:,} kept no response" if missing else "")))


def _open(config: Path | None, file: Path | None) -> TraceStore:
    from turnout.config import home, load
    from turnout.errors import StateError
    from turnout.store.traces import TraceStore, trace_file

    loaded = load(config)
    path = file or trace_file(home(loaded))
    if not path.is_file():
        raise StateError(f"no traces at {path}; `turnout up` writes them")
    return TraceStore(path, max_days=loaded.traces.max_days, max_mb=loaded.traces.max_mb)


def _since(days: float | None) -> float | None:
    import time

    return None if days is None else time.time() - days * 86_400
