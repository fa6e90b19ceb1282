"""What a search tries: every registered estimator with its defaults, and the estimators of the published presets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from turnout import registry
from turnout.errors import ConfigError, TurnoutError, UnknownNameError
from turnout.estimators.base import Estimator
from turnout.routers.fitting import default_estimator

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

DEFAULT = "default"


@dataclass(frozen=True)
class Candidate:
    """An estimator to try. `names` are the registered names it stands for: equal recipes are tried once."""

    names: tuple[str, ...]
    estimator: Estimator

    @property
    def name(self) -> str:
        """What the leaderboard calls it."""
        return self.names[0]


def candidates(
    log: OutcomeLog, methods: Sequence[str] | None = None, *, sentences: bool = False
) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """What can be tried on the log, the product's default first; and why the others cannot.

    `methods` are names of estimators and systems (`default` is the product's own); None takes all. With `sentences`
    each that reads the signal `embedding` is also tried on the signal `sentence`. Raises UnknownNameError for a name
    that is neither, ConfigError where a wanted one cannot be tried.
    """
    known = (DEFAULT, *registry.names("estimator"), *registry.names("system"))
    for name in methods or ():
        if name not in known:
            raise UnknownNameError("method", name, known)
    found: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    for name in dict.fromkeys(known):
        if methods and name not in methods:
            continue
        made = _made(name, log)
        if isinstance(made, str):
            refused[name] = made
            continue
        entries = {name: made}
        if sentences and "embedding" in made.signals:
            entries[f"{name} on sentences"] = _on_sentences(name, made, log)
        for called, estimator in entries.items():
            key = repr(estimator)
            found[key] = Candidate((*(found[key].names if key in found else ()), called), estimator)
    if methods and refused:
        name, why = next(iter(refused.items()))
        raise ConfigError(f"{name} cannot be tried: {why}")
    return tuple(found.values()), refused


def _made(name: str, log: OutcomeLog) -> Estimator | str:
    """The estimator, or why there is none for this log."""
    try:
        made = _build(name, log)
    except (TurnoutError, ImportError) as error:
        return str(error)
    if made is None:
        return "it is no router with an estimator of its own"
    if not log.has_text:
        lacking = [signal for signal in made.signals if signal not in log.signals()]
        if lacking:
            return f"the log has neither prompts nor a stored signal {lacking[0]!r}"
    return made


def _on_sentences(name: str, made: Estimator, log: OutcomeLog) -> Estimator:
    """The same on the signal `sentence`."""
    return default_estimator(log, sentences=True) if name == DEFAULT else made.rewired({"embedding": "sentence"})


def _build(name: str, log: OutcomeLog) -> Estimator | None:
    if name == DEFAULT:
        return default_estimator(log)
    if name in registry.names("estimator"):
        made: Estimator = registry.create("estimator", name)
        return made
    part = registry.get("system", name).build().get("estimator")
    return part if isinstance(part, Estimator) else None
