"""`turnout up`: experts, router, traces and the gateway, in one command."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turnout.cli._listed import listed

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.config import Config

READY = """
[bold]turnout is ready[/] at [bold]{url}[/] after {seconds:.1f} s
experts: {experts}
router:  {router}

  curl -s {url}/v1/chat/completions -H 'content-type: application/json' {key_header}\\
    -d '{{"model": "turnout/auto", "messages": [{{"role": "user", "content": "What is the capital of France?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key={key})
  client.chat.completions.create(model="turnout/auto", messages=[{{"role": "user", "content": "Hello"}}])

{traces}
Ctrl-C stops everything.
"""
UNFITTED = (
    "[yellow]unfitted[/]: the router was not fitted on any of these experts, so `turnout/auto` asks one of them for "
    "everything; collect outcomes (`turnout collect`, or traces with feedback) and `turnout fit`"
)


def command(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A configuration; see `turnout init`.")] = None,
    experts: Annotated[
        str | None,
        typer.Option(help="Embedded experts, separated by commas; `none` for none. See `turnout models list`."),
    ] = None,
    router: Annotated[
        Path | None, typer.Option(help="A router made by `turnout fit`, instead of the shipped one.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.")] = None,
    traces: Annotated[str | None, typer.Option(help="What is kept of each request: none, signals or prompts.")] = None,
    explore: Annotated[
        float | None, typer.Option(help="Chance of a uniform choice, with its propensity recorded.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Only 1, until state is shared between processes.")] = 1,
) -> None:
    """Start the gateway: fetch what is missing, start the embedded experts, and answer until Ctrl-C."""
    from turnout.cli._output import stderr
    from turnout.config import load

    named = None if experts is None else [name for name in listed(experts) if name != "none"]
    flags = {
        "embedded.models": named,
        "router.path": None if router is None else str(router),
        "gateway.host": host,
        "gateway.port": port,
        "traces.store": traces,
        "router.explore": explore,
        "log.level": context.obj,
    }
    loaded = load(config, flags=flags)
    logging.getLogger().setLevel(loaded.log.level.upper())
    _run(loaded, stderr(), workers)


def _run(config: Config, console: Console, workers: int) -> None:
    from rich.markup import escape

    from turnout.cli.models import fetch
    from turnout.config import home
    from turnout.errors import ConfigError
    from turnout.experts import pool as pools
    from turnout.gateway import app, server
    from turnout.routers import Router, shipped_path
    from turnout.routers.rules import bind
    from turnout.rules import lint
    from turnout.store.traces import TraceStore, trace_file

    started = time.monotonic()
    server.check(config, workers)
    if not pools.arms(config):
        raise ConfigError("there are no experts: name embedded ones with `--experts`, or servers under [[experts]]")
    router = Router.load(Path(config.router.path).expanduser() if config.router.path else shipped_path())
    fetch(config.embedded.models, console, home(config))
    with console.status("starting the experts"):
        pool = pools.build(config, ready=lambda name, s: console.print(f"{name} is ready after {s:.1f} s"))
    store = None
    try:
        settings = config.router
        bound = bind(router, pool.arms, settings.default, signals=settings.signals, rules=settings.rules)
        for finding in lint(settings.signals, settings.rules):
            console.print(f"[yellow]{finding.kind}[/]: {escape(finding.message)}")
        if not bound.fitted:
            console.print(UNFITTED)
        if config.traces.store != "none":
            kept = dataclasses.asdict(config.traces)
            store = TraceStore(trace_file(home(config)), keep=kept.pop("store"), **kept)
        traces = None if store is None else store.path

        verdict = router.guard.words() if bound.fitted else "unfitted"

        def announce(url: str) -> None:
            console.print(_banner(config, url, time.monotonic() - started, list(pool.experts), verdict, traces))

        server.run(app.build(config, pool, bound, store), config, workers=workers, on_ready=announce)
    finally:
        pool.close()
        if store is not None:
            store.close()


def _banner(config: Config, url: str, seconds: float, experts: list[str], verdict: str, traces: Path | None) -> str:
    key = config.gateway.access_key_env
    return READY.format(
        url=url,
        seconds=seconds,
        experts=", ".join(experts),
        router=f"{config.router.path or 'the one that ships'} {verdict}",
        key_header=f'-H "authorization: Bearer ${key}" ' if key else "",
        key=f'os.environ["{key}"]' if key else '"none"',
        traces=f"Traces ({config.traces.store}): {traces}; see `turnout traces list`" if traces else "No traces.",
    )
