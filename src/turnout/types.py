"""The nouns, as small frozen values. Standard library only.

Shape letters used in array names everywhere: N queries, E experts, D features, K neighbours or clusters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from numpy.typing import NDArray

BYTES_PER_TOKEN = 4.0  # English text under a 30k–150k vocabulary; limits need a bound, not a count, on the hot path


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens; `nominal` marks a made-up price (a local model's, say)."""

    input: float = 0.0
    output: float = 0.0
    nominal: bool = False

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars for one call.

        >>> Price(input=2.0, output=10.0).cost(1000, 100)
        0.003
        """
        return (self.input * prompt_tokens + self.output * completion_tokens) / 1e6


@dataclass(frozen=True, slots=True)
class Limits:
    """What an expert can take: `context` in tokens (prompt and answer), and the request features it supports."""

    context: int | None = None
    features: frozenset[str] = frozenset({"tools", "response_format", "logprobs", "prefill"})

    def refusal(self, request: Request) -> str | None:
        """Why this expert cannot serve the request, or None.

        >>> Limits(features=frozenset()).refusal(Request("hi", needs=frozenset({"tools"})))
        'no tools'
        """
        lacking = sorted(request.needs - self.features)
        if lacking:
            return "no " + ", ".join(lacking)
        tokens = request.prompt_tokens + (request.max_tokens or 0)
        if self.context is not None and tokens > self.context:
            return f"about {tokens} tokens exceed the context of {self.context}"
        return None


FEATURES = ("tools", "response_format", "logprobs", "prefill", "images")


@dataclass(frozen=True, slots=True)
class How:
    """The way an arm asks its model: what is added to the last user message, and body fields that are set."""

    name: str = "direct"
    suffix: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arm:
    """An expert as the router sees it: *what × how*, without any I/O. `model` is the name upstream knows."""

    id: str
    card: str = ""
    price: Price = Price()
    limits: Limits = Limits()
    tags: frozenset[str] = frozenset()
    model: str = ""
    how: How = How()


@dataclass(frozen=True, slots=True)
class Request:
    """One unit of work and its constraints. `text` is what the signals read; `bytes` is the size of the whole prompt.

    `said` is the user's part of the text, which the conditions of rules read, where that holds more than the user said.

    `needs` holds names from FEATURES. `previous` is the expert that served the conversation so far. `tenant` is who
    asks; `turns` are all of the user's turns, where somebody reads them. `previous` has `cached_tokens` of the
    prompt in its prefix cache; `tool_loop` says that it waits for the results of its tool calls.
    """

    text: str
    bytes: int = 0
    needs: frozenset[str] = frozenset()
    max_tokens: int | None = None
    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    session: str | None = None
    previous: str | None = None
    tenant: str | None = None
    turns: tuple[str, ...] = ()
    cached_tokens: int = 0
    tool_loop: bool = False
    said: str | None = None

    @property
    def prompt_tokens(self) -> int:
        """An estimate from the size in bytes."""
        return int(max(self.bytes, len(self.text)) / BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the executor does: ask `expert`; before the first byte, on failure, each of `fallbacks` in order."""

    expert: str
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan and everything needed to explain, replay and learn from it. Sequences run over `experts`.

    `quality` in [0, 1] with standard error `se`; `cost` in US dollars; `reason` is one of
    `routed`, `explored`, `kept` (the conversation's expert), `abstained` (the guard), `forced`, `unfitted`, `only`,
    `ruled` (a rule named the expert) or `refused`. `rule` is the operator's rule that applied; `conditions` has whether
    each signal that the rules had to know `holds`, and its `value`.
    """

    plan: Plan
    reason: str
    experts: tuple[str, ...]
    eligible: tuple[bool, ...]
    quality: tuple[float, ...] = ()
    se: tuple[float, ...] = ()
    cost: tuple[float, ...] = ()
    objective: tuple[float, ...] = ()
    propensity: float = 1.0
    seed: int = 0
    signals: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)
    rule: str | None = None
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def expert(self) -> str:
        return self.plan.expert

    def estimate(self, name: str) -> float | None:
        """The chosen expert's `quality`, `se`, `cost` or `objective`, or None where there is no estimate."""
        values: tuple[float, ...] = getattr(self, name)
        return values[self.experts.index(self.expert)] if values and self.expert in self.experts else None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call consumed, as the expert reported it; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call to an expert: the JSON body as bytes (already carrying the arm's changes), and its limits in seconds."""

    body: bytes
    stream: bool = False
    path: str = "/chat/completions"
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float | None = None


@dataclass(slots=True)
class Reply:
    """An expert's answer as it arrives. `settle` is asked once the body has been read (or abandoned)."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]
    settle: Callable[[], Usage]
    aclose: Callable[[], Awaitable[None]]


@runtime_checkable
class Expert(Protocol):
    """An arm that can be called: the only place where I/O with a model happens."""

    arm: Arm

    async def call(self, call: Call) -> Reply:
        """Send the call; return once status and headers are known. Raises ExpertError."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


@dataclass(slots=True)
class CallRecord:
    """One attempt at one expert, for the trace. Times in seconds; `error` is a class name and a short message."""

    expert: str
    status: int | None = None
    first_byte_s: float | None = None
    total_s: float | None = None
    error: str | None = None


@dataclass(slots=True)
class Trace:
    """One decision and what came of it. With `score` it is a row of an outcome log."""

    id: str
    time: float
    requested: str
    decision: Decision | None = None
    calls: list[CallRecord] = field(default_factory=list)
    expert: str | None = None
    status: int | None = None
    usage: Usage = Usage()
    cost: float | None = None
    latency_s: float | None = None
    first_byte_s: float | None = None
    session: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None
    response: str | None = None
    score: float | None = None
    label: str | None = None


def arms_by_id(arms: Sequence[Arm]) -> dict[str, Arm]:
    """Arms keyed by id; ids are unique by construction of a pool."""
    return {arm.id: arm for arm in arms}
