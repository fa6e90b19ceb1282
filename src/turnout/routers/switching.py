"""What a conversation loses when another expert takes it over: a warm prefix cache, a tool loop under way."""

from __future__ import annotations

from dataclasses import dataclass

from turnout.types import Request

CACHED_SHARE = 0.1  # what providers charge for a cached prompt token, as a part of the price of a fresh one
TOOL_LOOP = 0.05  # score that a tool loop is taken to lose when another expert must go on with it


@dataclass(frozen=True, slots=True)
class Switching:
    """Prices of a switch. `cached_share` is the price of a cached prompt token over a fresh one's.

    An expert that kept the conversation so far reads `Request.cached_tokens` at that share; any other reads the whole
    prompt at its full price, which is what its estimated cost says. So the kept expert's objective is raised by the
    saving times λ, and by `tool_loop` while tool calls are being answered.

    Limits: the cache is taken to hold while the gateway knows the conversation as warm; λ is that of the guard, so
    for a policy without one of its own the price is approximate; under a floor the saving counts as the dollars it is.
    """

    cached_share: float = CACHED_SHARE
    tool_loop: float = TOOL_LOOP

    def price(self, request: Request, lam: float, rate: float) -> float:
        """In units of the objective; `rate` is what a fresh prompt token costs at the kept expert, in US dollars.

        >>> round(Switching().price(Request("", cached_tokens=10_000), lam=10.0, rate=2e-6), 4)
        0.18
        """
        saved = request.cached_tokens * rate * (1.0 - self.cached_share)
        return lam * saved + (self.tool_loop if request.tool_loop else 0.0)
