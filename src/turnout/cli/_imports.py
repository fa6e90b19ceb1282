"""`turnout log import` and `turnout log formats`: outcomes that others published, as a log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.importers import ImportReport
    from turnout.importers._remote import Fetched, Remote

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE…", help="Files, folders, https:// addresses, or names such as routellm:gsm8k."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The log: a folder, or a .parquet, .jsonl or .csv file.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the format.")]


def import_(
    sources: Sources,
    out: Out,
    format: Annotated[str | None, typer.Option(help="As in `turnout log formats`; found out by default.")] = None,
    settings: Settings = None,
    sha256: Annotated[str | None, typer.Option(help="The checksum that a fetched file must have.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch again what is in the cache.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Turn outcomes in a published format into a log, and say what was dropped on the way."""
    from turnout.cli._output import emit, free, stderr
    from turnout.importers import load

    free(out, force)
    remotes = _remotes(sources, sha256)
    format = format or _one_format(remotes)
    paths, fetched = _local(sources, remotes, refresh, stderr())
    with stderr().status("reading"):
        log, report = load(*paths, format=format, options=_options(settings or ()))
        log.write(out)
    result = {
        "log": str(out),
        **report.as_dict(),
        "source": ", ".join(sources),
        "fetched": [
            {"url": file.url, "sha256": file.sha256, "bytes": file.size, "changed_from": file.changed_from}
            for file in fetched
        ],
    }
    emit(result, as_json, lambda console: _show(console, out, report, fetched))


def formats(
    name: Annotated[str | None, typer.Argument(metavar="[FORMAT]", help="Only this one.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page of the documentation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What can be imported: where it comes from, how scores and experts are named, and the options."""
    from turnout import registry
    from turnout.cli._output import emit

    for wanted in (name,) if name else ():
        registry.get("importer", wanted)
    listed = [_about(each) for each in registry.names("importer") if name in (None, each)]
    render = _page if markdown else _detail if name else _list
    emit({"formats": listed}, as_json, lambda console: render(console, listed))


def _options(settings: Sequence[str]) -> dict[str, str | None]:
    from turnout.errors import ParameterError

    options: dict[str, str | None] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise ParameterError(f"`--set` takes NAME=VALUE, got {setting!r}")
        options[name.strip()] = value
    return options


def _remotes(sources: Sequence[str], sha256: str | None) -> list[Remote | None]:
    """What each source stands for on the network, None for a path."""
    from turnout.errors import ConfigError
    from turnout.importers import _remote

    remotes = [_remote.resolve(source, sha256) for source in sources]
    if sha256 is not None and sum(len(remote.files) for remote in remotes if remote) != 1:
        raise ConfigError("`--sha256` is about one fetched file; import that address alone")
    return remotes


def _one_format(remotes: Sequence[Remote | None]) -> str | None:
    from turnout.errors import ConfigError

    formats = list(dict.fromkeys(remote.format for remote in remotes if remote and remote.format))
    if len(formats) > 1:
        raise ConfigError(f"the sources are in several formats ({', '.join(formats)}); import one format at a time")
    return formats[0] if formats else None


def _local(
    sources: Sequence[str], remotes: Sequence[Remote | None], refresh: bool, console: Console
) -> tuple[list[Path], list[Fetched]]:
    """Every source as a path, and what came from the network."""
    paths, fetched = [], []
    for source, remote in zip(sources, remotes, strict=True):
        path, files = (Path(source), []) if remote is None else _fetch(remote, refresh, console)
        paths.append(path)
        fetched += files
    return paths, fetched


def _fetch(remote: Remote, refresh: bool, console: Console) -> tuple[Path, list[Fetched]]:
    from turnout.cli._output import transfer
    from turnout.config import home
    from turnout.config import load as configuration
    from turnout.importers import _remote

    with transfer(console) as bar:
        task = bar.add_task(remote.name, total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        return _remote.fetch(remote, report, home=home(configuration()), refresh=refresh)


def _show(console: Console, out: Path, report: ImportReport, fetched: Sequence[Fetched]) -> None:
    from rich.markup import escape

    if len(fetched) == 1:
        console.print(f"SHA-256 {fetched[0].sha256} ({fetched[0].size:,} bytes), remembered")
    for file in fetched:
        if file.changed_from:
            console.print(f"[yellow]changed[/yellow] since it was last fetched: {escape(file.url)}")
    size = f"{report.queries:,} queries × {report.experts:,} experts, {report.outcomes:,} outcomes"
    repeated = f" ({report.repeated:,} of several runs)" if report.repeated else ""
    console.print(f"[bold]{escape(str(out))}[/bold]  {size}{repeated}, from {report.format}")
    console.print(f"rows: {report.read:,} read, {report.kept:,} kept")
    for reason, count in report.dropped.items():
        console.print(f"  {count:,} dropped: {escape(reason)}")
    for name, count in report.ignored.items():
        console.print(f"  {count:,} unusable values of {escape(name)} left out")
    for note in report.notes:
        console.print(f"  {escape(note)}")
    console.print(f"not carried over: {escape(report.lost)}")


def _about(name: str) -> dict[str, Any]:
    from turnout.importers._formats import create
    from turnout.importers._remote import named

    made = create(name)
    facts = {each: getattr(made, each) for each in ("title", "source", "licence", "scoring", "naming", "lost")}
    sources = {
        key: entry["title"] for key, entry in named().items() if name in (entry["format"], key.partition(":")[0])
    }
    options = {"options": dict(made.options), "common_options": dict(made.common)}
    return {"name": name, **facts, "files": list(made.patterns), **options, "named_sources": sources}


def _list(console: Console, listed: Sequence[dict[str, Any]]) -> None:
    from rich.markup import escape

    from turnout.cli._output import table

    rows = [(escape(each["name"]), each["title"], ", ".join(each["files"])) for each in listed]
    console.print(table(("format", "what", "files"), rows, words=("what", "files")))
    console.print("`turnout log formats FORMAT` shows its options and named sources")


def _detail(console: Console, listed: Sequence[dict[str, Any]]) -> None:
    from rich.markup import escape

    for each in listed:
        console.print(f"[bold]{each['name']}[/bold]  {escape(each['title'])}")
        for name in ("source", "licence", "scoring", "naming", "lost"):
            console.print(f"  {name}: {escape(each[name])}")
        for name, text in {**each["options"], **each["common_options"]}.items():
            console.print(f"  --set {name}=…  {escape(text)}")
        for name, text in each["named_sources"].items():
            console.print(f"  {escape(name)}  {escape(text)}")


def _page(console: Console, listed: Sequence[dict[str, Any]]) -> None:
    """The documentation, as Markdown on stdout."""
    console.out(_PAGE.strip() + "\n", highlight=False)
    for name, text in listed[0]["common_options"].items():
        console.out(f"- `{name}`: {text}", highlight=False)
    for each in listed:
        sources = "".join(f"\n- `{name}`: {text}" for name, text in each["named_sources"].items())
        options = "".join(f"\n- `{name}`: {text}" for name, text in each["options"].items())
        example = _EXAMPLES.get(each["name"]) or next(iter(each["named_sources"]), "PATH")
        console.out(
            f"\n## {each['name']}: {each['title']}\n\n    turnout log import {example} --out log/\n\n"
            f"From {each['source']}. Licence: {each['licence']}.\n\n"
            f"Files: {', '.join(f'`{pattern}`' for pattern in each['files'])}, or a folder that holds them. "
            f"Scores: {each['scoring']}. Experts: {each['naming']}. Not carried over: {each['lost']}.\n\n"
            + "\n\n".join(
                part for part in (options and f"Options:\n{options}", sources and f"Named sources:\n{sources}") if part
            ),
            highlight=False,
        )


_EXAMPLES = {
    "alpacaeval": "alpacaeval:FuseChat-Gemma-2-9B-Instruct alpacaeval:FuseChat-Llama-3.1-8B-Instruct",
    "helm": "benchmark_output/runs/v1 --set metric=exact_match",
    "inspect": "logs/",
    "litellm": "requests.jsonl --set score=metadata.requester_metadata.thumbs",
    "lm_eval": "output/ --set filter=strict-match --set prompt=doc",
    "openai": "batches/ --set scores=grades.csv --set prices=prices.json",
    "llmrouter": "routing_data/default_routing_train_data.jsonl",
}

_PAGE = """
# Importers

`turnout log import SOURCE… --out LOG` turns outcomes in a published format into a log. The format is found out from the
files; `--format` names it where several fit. This page is made by `turnout log formats --markdown`.

A source is a file, a folder, an `https://` address, or a name of the list below such as `routellm:gsm8k`. What comes
from the network is fetched once into Turnout's home, continued where it broke off, and checked: named sources are
pinned to a commit, with the checksums of their files, unless they say otherwise; of another address give `--sha256`, or
the checksum is printed, remembered and checked from then on. `--refresh` fetches again. With `TURNOUT_OFFLINE=1` only
the cache is used. Nothing of these sources is shipped with Turnout: mind their licences.

**Scores.** A log's scores lie in [0, 1]. A score outside is refused until its range is stated: `--set scale=1:10` maps
x to (x − 1) / 9. **Repeats.** Several runs of one expert on one query become one outcome: `score` is their mean,
`repeats` keeps each, so that `turnout log describe` can tell how much of an oracle's gain is the luck of single runs
(below). **Losses.** The command reports rows read, kept and dropped, with the reasons; a request that failed is
dropped, as a failed expert is not a wrong one.

## What repeats tell about luck

With X[n, e, r] the score of run r of expert e on query n, over queries on which two experts have two runs or more:

    best        the best single expert's mean
    S           mean over n, r of max_e X[n, e, r]: what an oracle shows on a log of single runs
    M           mean over n of max_e mean_r X[n, e, r]: chosen and valued on the same runs
    V           mean over n, r of X[n, e*, r], with e* chosen without run r: by the query's other runs, shrunk towards
                the expert's mean on the other queries of the task as far as runs waver

A perfect router that knows every expectation reaches some O with E[V] ≤ O ≤ E[M] ≤ E[S]. So of the gap S − best, at
least S − M and at most S − V is the luck of single runs (told with the ends of bootstrap intervals), and V − best is
confirmed.
Without repeats none of this can be told, and `describe` says so. `turnout.outcomes.luck` has the formula in full.

## Options of every format (`--set NAME=VALUE`)

"""
