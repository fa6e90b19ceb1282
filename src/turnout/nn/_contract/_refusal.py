"""What a call refuses."""

from __future__ import annotations

from collections.abc import Callable

from turnout.errors import RoutingError, TurnoutError


def refusal(call: Callable[[], object], error: type[TurnoutError] = RoutingError) -> str | None:
    """The message of the error that a call raises; None where it raises none."""
    try:
        call()
    except error as raised:
        return str(raised)
    return None


def refused(call: Callable[[], object], part: str) -> None:
    """The call raises RoutingError whose message has `part`."""
    message = refusal(call)
    assert message is not None, f"accepted what should be refused with {part!r}"
    assert part in message, f"the message {message!r} lacks {part!r}"
