"""The error tree. Every error names what was received and what is allowed.

TurnoutError
├── ConfigError          a configuration file, flag or environment variable
│   └── ParameterError   a parameter of a signal, estimator or policy
├── UnknownNameError     a name that no registry or pool knows (carries the nearest ones)
├── LogError             an outcome log, with the row and column at fault
├── CardError            a card or a query for one, with the line and field at fault
├── StateError           a saved router that is damaged, newer than this version, or of another kind
├── NotFittedError       used before `fit`
├── ModelError           weights that cannot be found, fetched or trusted
├── ExpertError          an expert refused, stalled, broke off or answered garbage
│   ├── ExpertTimeout
│   └── ExpertUnreachable
├── BudgetError          a cap on spend was reached
├── RoutingError         a routed layer was given what it cannot route
└── RequestError         a request that cannot be served; carries the HTTP status and OpenAI's error fields
    └── RefusedError     an operator's rule refused it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class TurnoutError(Exception):
    """Base of every error that Turnout raises on purpose."""


class ConfigError(TurnoutError):
    """A configuration value is unknown, missing or out of range."""


class ParameterError(ConfigError):
    """A parameter of a component breaks its rule."""


class UnknownNameError(TurnoutError):
    """A name that is not registered.

    >>> print(UnknownNameError("estimator", "kn", ["knn", "ridge"]))
    unknown estimator 'kn'; did you mean 'knn'? known: knn, ridge
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        super().__init__(f"unknown {kind} {name!r}{did_you_mean(name, self.known)} known: {', '.join(self.known)}")


class LogError(TurnoutError):
    """An outcome log breaks its contract; the message names row and column."""


class CardError(TurnoutError):
    """A card breaks its contract; the message names line and field."""


class StateError(TurnoutError):
    """A saved state cannot be loaded."""


class NotFittedError(TurnoutError):
    """A component was used before `fit`."""


class ModelError(TurnoutError):
    """Weights cannot be found, fetched or trusted."""


class RoutingError(TurnoutError):
    """A routed layer or one of its parts was given what it cannot route; the message names shapes or values."""


class ExpertError(TurnoutError):
    """An expert failed. `status` is the HTTP status a client should see."""

    def __init__(self, message: str, *, expert: str = "", status: int = 502) -> None:
        super().__init__(message)
        self.expert, self.status = expert, status


class ExpertTimeout(ExpertError):
    """An expert did not answer in time."""

    def __init__(self, message: str, *, expert: str = "") -> None:
        super().__init__(message, expert=expert, status=504)


class ExpertUnreachable(ExpertError):
    """No connection to the expert could be made."""


class BudgetError(TurnoutError):
    """A cap on spend was reached."""


class RequestError(TurnoutError):
    """A request that cannot be served, in OpenAI's error vocabulary."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.type, self.code, self.param = status, type, code, param


class RefusedError(RequestError):
    """An operator's rule refused the request; `decision` is what its trace keeps."""

    def __init__(self, message: str, *, decision: Any = None) -> None:
        super().__init__(message, status=403, type="permission_error", code="refused_by_rule")
        self.decision = decision


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or `;` where none is near.

    >>> did_you_mean("prot", ["port", "host"])
    "; did you mean 'port'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ";"
