"""The `turnout` command. A file in this folder is a command: it holds `command` (a function) or `app` (a Typer)."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import sys

import typer

from turnout.errors import ConfigError, TurnoutError


def build() -> typer.Typer:
    """The application, with one command per file of this folder."""
    app = typer.Typer(
        name="turnout",
        help="Routes each unit of work to the expert that should do it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        if found.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{found.name}")
        name = found.name.replace("_", "-")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(module.command)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error of ours or of a file is one line on stderr, exit status 1 (2: configuration)."""
    try:
        build()(arguments)
    except TurnoutError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader (head, say) has gone; Python would complain when flushing at exit
        sys.exit(0)
    except OSError as error:  # a place that cannot be written, a full disk
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        from turnout import __version__

        typer.echo(f"turnout {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    log_level: str | None = typer.Option(
        None, envvar="TURNOUT_LOG_LEVEL", help="What is logged to stderr: debug, info, warning or error."
    ),
    _: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    levels = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
    if log_level is not None and log_level.lower() not in levels:
        raise ConfigError(f"`--log-level` must be one of {', '.join(levels)}, got {log_level!r}")
    context.obj = log_level and log_level.lower()  # for commands that read a configuration, which a flag overrides
    logging.basicConfig(level=levels[context.obj or "warning"], format="%(levelname).1s %(name)s: %(message)s")
