"""Which importer a file is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from turnout import registry
from turnout.errors import ConfigError, LogError, ParameterError, did_you_mean
from turnout.importers.base import Importer, ImportReport
from turnout.outcomes import OutcomeLog


def names() -> tuple[str, ...]:
    """Every registered format."""
    return registry.names("importer")


def create(name: str, options: Mapping[str, str | None] | None = None) -> Importer:
    """An importer with its options set. Raises UnknownNameError and ParameterError."""
    made = cast("Importer", registry.get("importer", name)())
    for option in options or {}:
        known = made.params()
        if option not in known:
            hint = did_you_mean(option, known)
            raise ParameterError(f"{name}: unknown option {option!r}{hint} allowed: {', '.join(known)}")
    made = made.clone(**(options or {}))
    made.check()
    return made


def detect(path: str | Path) -> str:
    """The format of a file or folder. Raises ConfigError where none fits or several do."""
    path = Path(path)
    if not path.exists():
        raise LogError(f"{path}: no such file or folder")
    fit = [name for name in names() if create(name).detect(path)]
    if len(fit) == 1:
        return fit[0]
    why = f"{path} could be any of {', '.join(fit)}" if fit else f"{path} is in no known format"
    raise ConfigError(f"{why}; name one with --format (known: {', '.join(names())})")


def load(
    *paths: str | Path, format: str | None = None, options: Mapping[str, str | None] | None = None
) -> tuple[OutcomeLog, ImportReport]:
    """Read one or more files or folders of one format, which is found out where it is not named.

    Raises LogError, ConfigError (no format fits, or several do) and UnknownNameError.
    """
    return create(format or _only(paths), options).read(*paths)


def _only(paths: Sequence[str | Path]) -> str:
    found = dict.fromkeys(detect(path) for path in paths)
    if len(found) != 1:
        raise ConfigError(f"the sources are in several formats ({', '.join(found)}); import one format at a time")
    return next(iter(found))
